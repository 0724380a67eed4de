"""What Redis has of a batch that is to be deleted from Postgres."""

from batch_conductor_service.exceptions import StoreUnavailableError
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.models import BatchId, EssayId
from batch_conductor_service.port_values import RedisCommand
from batch_conductor_service.protocols import AtomicRedisClientProtocol


class RedisPassingBatches:
    """`PassingBatchesProtocol`."""

    def __init__(self, redis: AtomicRedisClientProtocol) -> None:
        self._redis = redis

    async def is_waiting(self, batch_id: BatchId) -> bool:
        waiting, counted, length = await self._redis.read(
            [
                ("HEXISTS", keys.PERSISTENCE_WAITING, batch_id),
                ("HGET", keys.PERSISTENCE_WAITING, keys.WAITING_OF_ALL),
                ("XLEN", keys.PERSISTENCE_QUEUE),
            ]
        )
        is_known = int(counted or 0) == length  # else the counts are those of another queue
        return bool(waiting) or not is_known

    async def forget(self, batch_id: BatchId) -> None:
        """Write the keys before deleting them: that of one that is not there fails no WATCH."""
        batch_keys = keys.batch_keys(batch_id)

        async def compose() -> list[RedisCommand]:
            [essays] = await self._redis.read([("SMEMBERS", keys.batch_index(batch_id))])
            documents = [keys.essay_state(batch_id, EssayId(essay)) for essay in essays]
            return [
                ("DEL", *batch_keys, *documents),
                *(("SET", key, "", "EX", 1) for key in batch_keys),
                ("DEL", *batch_keys),
            ]

        if await self._redis.transact([keys.batch_index(batch_id)], compose) is None:
            raise StoreUnavailableError("The batch is written too often to be forgotten.")
