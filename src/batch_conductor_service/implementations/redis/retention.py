"""What Redis has of batches that Postgres lacks, or that are to be deleted from it."""

from collections.abc import Sequence

from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.batch_hash import find_essay_ids
from batch_conductor_service.implementations.redis.batch_writing import forget_earlier
from batch_conductor_service.implementations.redis.summary import SUMMARY, decode_summary
from batch_conductor_service.models import BatchId
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import RedisCommand
from service_libs.redis.transactions import AtomicRedisClientProtocol, RedisReaderProtocol


class RedisPassingBatches:
    """`PassingBatchesProtocol`."""

    def __init__(self, redis: AtomicRedisClientProtocol) -> None:
        self._redis = redis

    async def is_waiting(self, batch_id: BatchId) -> bool:
        reading = await self._redis.read(
            [
                ("HEXISTS", keys.PERSISTENCE_WAITING, batch_id),
                ("HGET", keys.PERSISTENCE_WAITING, keys.WAITING_OF_ALL),
                ("XLEN", keys.PERSISTENCE_QUEUE),
                ("SISMEMBER", keys.UNARCHIVED, batch_id),
            ]
        )
        waiting, counted, length, is_unarchived = reading.replies
        is_known = int(counted or 0) == length  # else the counts are those of another queue
        return bool(waiting or is_unarchived) or not is_known

    async def forget(self, batch_id: BatchId) -> None:
        """Write the key before deleting it: that of one that is not there fails no WATCH."""
        key = keys.batch(batch_id)

        async def compose(reader: RedisReaderProtocol) -> Sequence[RedisCommand]:
            [fields] = (await reader.read([("HKEYS", key)])).replies
            documents = [keys.essay_state(batch_id, one) for one in find_essay_ids(fields)]
            return [
                ("HSET", key, "", ""),
                ("DEL", key, keys.pipeline_state(batch_id), *documents),
                *forget_earlier(batch_id),
            ]

        if await self._redis.transact([key], compose) is None:
            raise StoreUnavailableError("The batch is written too often to be forgotten.")


class RedisUnarchivedBatches:
    """`UnarchivedBatchesProtocol`: a set that each write without an archive adds to."""

    def __init__(self, redis: AtomicRedisClientProtocol) -> None:
        self._redis = redis

    async def find(self, count: int) -> Sequence[BatchId]:
        reading = await self._redis.read([("SRANDMEMBER", keys.UNARCHIVED, count)])
        return [BatchId(batch_id) for batch_id in reading.replies[0]]

    async def forget(self, batch_ids: Sequence[BatchId]) -> None:
        async def compose(reader: RedisReaderProtocol) -> list[RedisCommand]:
            reading = await reader.read([("HGET", keys.batch(one), SUMMARY) for one in batch_ids])
            kept = map(decode_summary, reading.replies)
            settled = [
                batch_id
                for batch_id, summary in zip(batch_ids, kept, strict=True)
                if summary is None or summary.server_run  # else it was written without an archive
            ]
            return [("SREM", keys.UNARCHIVED, *settled)] if settled else []

        await self._redis.transact([keys.batch(one) for one in batch_ids], compose)
