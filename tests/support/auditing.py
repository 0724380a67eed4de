"""Redis, Postgres and the queue between them as an audit sees them, in memory."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.drift import ArchivedBatch, CachedBatch, merged
from batch_conductor_service.domain.drift_texts import StepCounts
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchUpdate,
    StepName,
    SummaryReading,
)
from service_libs.exceptions import StoreUnavailableError
from tests.support.pipelines import DEPENDENCIES


def cached(update: BatchUpdate, *faults: str, is_current: bool = True) -> CachedBatch:
    """Return the batch as a Redis has it that knows just this, and counts it right."""
    state = merged(update.batch_id, update)
    return CachedBatch(
        state=state, summary=state.summarise(DEPENDENCIES), faults=faults, is_current=is_current
    )


def archived(update: BatchUpdate) -> ArchivedBatch:
    """Return the batch as a Postgres has it that knows just this, and counts it right."""
    state = merged(update.batch_id, update)
    summary = state.summarise(DEPENDENCIES)
    total = summary.registered_total
    return ArchivedBatch(
        state=state, counts={name: counts_of(summary, name, total) for name in summary.steps}
    )


def counts_of(summary: BatchCompletionSummary, name: StepName, total: int | None) -> StepCounts:
    """Return the row that follows from the summary."""
    step = summary.steps[name]
    return StepCounts(
        completed=step.completed,
        failed=step.failed,
        essays_total=total if total is not None else summary.reported_total,
        last_observed_at=step.last_observed_at,
    )


class Stores:
    """Both stores and the queue, in one: also the repository that writes to them."""

    def __init__(self) -> None:
        self.redis: dict[BatchId, CachedBatch] = {}
        self.postgres: dict[BatchId, ArchivedBatch] = {}
        self.queued: list[BatchUpdate] = []
        self.recounted: list[BatchId] = []
        self.looks = 0
        self.is_away = False
        self.waiting_writes = 0  # how many of the next leave their batches unmerged
        self.on_look: Callable[[], None] = lambda: None

    @property
    def cache(self) -> "MemoryCache":
        return MemoryCache(self)

    @property
    def records(self) -> "MemoryRecords":
        return MemoryRecords(self)

    async def find_queued(self, batch_ids: Collection[BatchId]) -> Sequence[BatchUpdate]:
        return [update for update in self.queued if update.batch_id in batch_ids]

    async def apply(self, updates: Sequence[BatchUpdate]) -> Sequence[str | None]:
        """Merge into Redis what both sides know, and queue what is said."""
        for said in updates:
            known = [
                side[said.batch_id].state.as_update()
                for side in (self.redis, self.postgres)
                if said.batch_id in side
            ]
            self.redis[said.batch_id] = cached(
                merged(said.batch_id, said, *known).as_update(), is_current=not self.waiting_writes
            )
            self.queued.append(said)
        self.waiting_writes = max(0, self.waiting_writes - 1)
        return [None] * len(updates)

    async def get_summary(self, batch_id: BatchId) -> SummaryReading:
        if self.is_away:
            raise StoreUnavailableError
        known = self.redis.get(batch_id) or cached(merged(batch_id).as_update())
        return SummaryReading(summary=known.state.summarise(DEPENDENCIES))

    async def get_state(self, batch_id: BatchId) -> BatchState:
        known = self.redis.get(batch_id) or cached(merged(batch_id).as_update())
        return known.state


class MemoryCache:
    """`BatchCacheProtocol`."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def read(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, CachedBatch]:
        if self._stores.is_away:
            raise StoreUnavailableError
        self._stores.looks += 1
        self._stores.on_look()
        return {one: self._stores.redis[one] for one in batch_ids if one in self._stores.redis}

    async def list_batches(self) -> AsyncIterator[Sequence[BatchId]]:
        yield list(self._stores.redis)

    async def forget_summaries(self, batch_ids: Sequence[BatchId]) -> None:
        """All that is written here is merged anyway."""


class MemoryRecords:
    """`BatchRecordsProtocol`."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def read(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, ArchivedBatch]:
        known = await self.find_known(batch_ids)
        return {one: self._stores.postgres[one] for one in known}

    async def list_batches(self, after: BatchId | None, count: int) -> Sequence[BatchId]:
        return sorted(one for one in self._stores.postgres if one > (after or ""))[:count]

    async def find_known(self, batch_ids: Sequence[BatchId]) -> Collection[BatchId]:
        return [one for one in batch_ids if one in self._stores.postgres]

    async def recount(self, batch_ids: Sequence[BatchId]) -> None:
        self._stores.recounted += batch_ids
        for one in await self.find_known(batch_ids):
            self._stores.postgres[one] = archived(self._stores.postgres[one].state.as_update())
