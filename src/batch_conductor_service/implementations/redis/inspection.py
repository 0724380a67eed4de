"""What Redis alone knows of batches: read past the repository, which would merge with Postgres."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from batch_conductor_service.breakers import CircuitBreakers
from batch_conductor_service.domain.drift import CachedBatch
from batch_conductor_service.exceptions import StoreUnavailableError
from batch_conductor_service.implementations.redis import keys, readings
from batch_conductor_service.implementations.redis.archived import Archived
from batch_conductor_service.implementations.redis.readings import BatchReading
from batch_conductor_service.implementations.redis.whole_batches import WholeBatch, load_whole
from batch_conductor_service.models import BatchId, BatchUpdate
from batch_conductor_service.port_values import RedisCommand
from batch_conductor_service.protocols import AtomicRedisClientProtocol

KEYS_PER_SCAN = 1000


class RedisBatchCache:
    """`BatchCacheProtocol`."""

    def __init__(self, redis: AtomicRedisClientProtocol, breakers: CircuitBreakers) -> None:
        self._redis = redis
        self._nothing_archived = Archived(None, breakers)

    async def read(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, CachedBatch]:
        found = [one for one in await self._read(batch_ids) if _has_anything(one)]
        if not found:
            return {}
        batches = await load_whole(self._redis, found, self._nothing_archived)
        return {
            reading.batch_id: _describe(reading, batch, self._redis.life)
            for reading, batch in zip(found, batches, strict=True)
        }

    async def list_batches(self) -> AsyncIterator[Sequence[BatchId]]:
        """Walk the keyspace; what comes or goes meanwhile may or may not be in it."""
        async for some in self._scan(keys.batch_summary):
            yield some
        async for some in self._scan(keys.pipeline_state):  # earlier versions kept no summary
            summaries: list[RedisCommand] = [("EXISTS", keys.batch_summary(one)) for one in some]
            is_there = await self._redis.read(summaries)
            yield [one for one, has in zip(some, is_there, strict=True) if not has]

    async def doubt(self, batch_ids: Sequence[BatchId]) -> None:
        for batch_id in batch_ids:
            await self._doubt(keys.batch_summary(batch_id))

    async def _scan(self, key_of: Callable[[BatchId], str]) -> AsyncIterator[list[BatchId]]:
        pattern, cursor = key_of(BatchId("*")), 0
        before, after = pattern.split("*")
        while True:
            [(cursor, found)] = await self._redis.read(
                [("SCAN", cursor, "MATCH", pattern, "COUNT", KEYS_PER_SCAN)]
            )
            names = (key.removeprefix(before).removesuffix(after) for key in found)
            if some := [BatchId(name) for name in dict.fromkeys(names)]:
                yield some
            if not int(cursor):
                return

    async def _doubt(self, summary: str) -> None:
        async def compose() -> list[RedisCommand]:
            [is_there] = await self._redis.read([("EXISTS", summary)])
            # One that is not there is in doubt already, and would get no expiry from here.
            return [("HSET", summary, readings.WHOLE, "0")] if is_there else []

        if await self._redis.transact([summary], compose) is None:
            raise StoreUnavailableError("The batch is written too often to be put in doubt.")

    async def _read(self, batch_ids: Sequence[BatchId]) -> list[BatchReading]:
        updates = [BatchUpdate(batch_id=batch_id) for batch_id in batch_ids]
        commands = [command for u in updates for command in readings.reading_commands(u)]
        replies = iter(await self._redis.read(commands) if commands else [])
        return [readings.parse_reading(update, replies) for update in updates]


def _has_anything(reading: BatchReading) -> bool:
    return bool(reading.fields or reading.counts or any(reading.sizes))


def _describe(reading: BatchReading, batch: WholeBatch, life: str) -> CachedBatch:
    return CachedBatch(
        state=batch.state,
        summary=readings.find_summary(reading.batch_id, reading.fields, reading.counts),
        faults=tuple(_find_faults(reading, batch)),
        is_trusted=reading.fields.get(readings.WHOLE) == "1"
        and readings.is_of_life(reading.fields, life),
    )


def _find_faults(reading: BatchReading, batch: WholeBatch) -> list[str]:
    """Return what contradicts itself; a batch of an earlier version has nothing that could."""
    if reading.counts and not reading.fields:
        return []
    faults = []
    if reading.fields.get(readings.WHOLE) != "1":
        faults.append("not marked whole")
    elif not readings.is_whole(reading.fields, reading.counts):
        faults.append("the two hashes of counts disagree")
    for name, size in zip(readings.SIZES, reading.sizes, strict=True):
        if (noted := reading.fields.get(name)) != str(size):
            faults.append(f"{name}: {size} there, {noted or 'none'} noted")
    if (missing := reading.sizes[0] - len(batch.documents)) > 0:
        faults.append(f"documents: {missing} of {reading.sizes[0]} cannot be read")
    return faults
