"""What Redis alone knows of batches: read past the repository, which would merge with Postgres."""

from collections.abc import AsyncIterator, Mapping, Sequence

from batch_conductor_service.domain.drift import CachedBatch
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.batch_hash import (
    KeptBatch,
    all_commands,
    parse_all,
)
from batch_conductor_service.implementations.redis.earlier_versions import import_batch
from batch_conductor_service.implementations.redis.summary import SUMMARY, CurrentData
from batch_conductor_service.models import BatchId
from service_libs.redis.connections import RedisCommand, dict_of
from service_libs.redis.transactions import AtomicRedisClientProtocol

KEYS_PER_SCAN = 1000


class RedisBatchCache:
    """`BatchCacheProtocol`."""

    def __init__(self, redis: AtomicRedisClientProtocol, dependencies: StepDependencies) -> None:
        self._redis = redis
        self._dependencies = dependencies

    async def read(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, CachedBatch]:
        if not batch_ids:
            return {}
        beside: list[RedisCommand] = [("HGETALL", keys.pipeline_state(one)) for one in batch_ids]
        reading = await self._redis.read([*all_commands(batch_ids), *beside])
        replies = iter(reading.replies)
        kept = await parse_all(batch_ids, replies)
        current = CurrentData(server_run=reading.server_run, dependencies=self._dependencies)
        found: dict[BatchId, CachedBatch] = {}
        for batch_id, one in kept.items():
            counts, state = dict_of(next(replies)), one.batch.state
            if one.has_earlier or (counts and not one.batch.is_known):
                imported = await import_batch(self._redis, batch_id)
                state.merge(imported.update)
                found[batch_id] = CachedBatch(state=state, summary=None, is_current=False)
            elif _has_anything(one.batch):
                found[batch_id] = _describe(one.batch, counts, current)
        return found

    async def list_batches(self) -> AsyncIterator[Sequence[BatchId]]:
        """Walk the keyspace; what comes or goes meanwhile may or may not be in it."""
        async for some in self._scan(keys.batch(BatchId("*"))):
            yield some
        async for some in self._scan(keys.pipeline_state(BatchId("*"))):  # the first versions
            exist: list[RedisCommand] = [("EXISTS", keys.batch(one)) for one in some]
            is_there = (await self._redis.read(exist)).replies
            yield [one for one, has in zip(some, is_there, strict=True) if not has]

    async def forget_summaries(self, batch_ids: Sequence[BatchId]) -> None:
        if batch_ids:
            await self._redis.read([("HDEL", keys.batch(one), SUMMARY) for one in batch_ids])

    async def _scan(self, pattern: str) -> AsyncIterator[list[BatchId]]:
        before, after = pattern.split("*")
        cursor = 0
        while True:
            scan: RedisCommand = ("SCAN", cursor, "MATCH", pattern, "COUNT", KEYS_PER_SCAN)
            [[next_cursor, found]] = (await self._redis.read([scan])).replies
            names = (key.removeprefix(before).removesuffix(after) for key in found)
            names = (name.removesuffix(":summary") for name in names)  # of earlier versions
            # Other keys of earlier versions begin alike, but no id has a colon.
            if some := [BatchId(one) for one in dict.fromkeys(names) if ":" not in one]:
                yield some
            cursor = int(next_cursor)
            if cursor == 0:
                return


def _has_anything(batch: KeptBatch) -> bool:
    """Whether more is kept than that nobody has heard of the batch."""
    has_reports = batch.reports.keys() > {SUMMARY}
    return bool(batch.essays) or has_reports or not batch.is_readable


def _describe(batch: KeptBatch, counts: Mapping[str, str], current: CurrentData) -> CachedBatch:
    summary = current.find_summary(batch.summary)
    return CachedBatch(
        state=batch.state,
        summary=summary,
        faults=() if summary is None else tuple(_find_faults(batch, counts)),
        is_current=summary is not None,
    )


def _find_faults(batch: KeptBatch, counts: Mapping[str, str]) -> list[str]:
    """Return what cannot be read, or is written beside the batch and says something else."""
    faults = [] if batch.is_readable else ["a field cannot be read"]
    steps = batch.summary.summary.steps if batch.summary else {}
    own: dict[str, str] = {name: str(step.completed) for name, step in steps.items()}
    if counts != own:
        # Both are read one after the other. With the numbers a write in between is another fault
        # at each look, and so none.
        faults.append(f"the counts for others are {_listed(counts)}, the batch's {_listed(own)}")
    return faults


def _listed(counts: Mapping[str, str]) -> str:
    return ", ".join(f"{step} {count}" for step, count in sorted(counts.items())) or "none"
