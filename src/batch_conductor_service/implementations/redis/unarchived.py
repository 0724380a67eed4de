"""The batches that Redis alone has: a set that each write without an archive adds to."""

from collections.abc import Sequence

from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.models import BatchId
from service_libs.redis.transactions import AtomicRedisClientProtocol


class RedisUnarchivedBatches:
    """`UnarchivedBatchesProtocol`."""

    def __init__(self, redis: AtomicRedisClientProtocol) -> None:
        self._redis = redis

    async def find(self, count: int) -> Sequence[BatchId]:
        reading = await self._redis.read([("SRANDMEMBER", keys.UNARCHIVED, count)])
        return [BatchId(batch_id) for batch_id in reading.replies[0]]

    async def forget(self, batch_ids: Sequence[BatchId]) -> None:
        await self._redis.read([("SREM", keys.UNARCHIVED, *batch_ids)])
