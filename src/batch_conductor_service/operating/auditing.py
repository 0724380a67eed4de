"""Whether Redis, Postgres and the queue agree on what is known of batches, and bringing them to.

Both are safe while the service runs. A difference counts only when it is seen twice, some moment
apart, and what is queued counts as being where it is going. A repair overwrites and removes
nothing: it has the repository merge what Redis and Postgres have, as it does by itself with each
batch that Redis has lost, so it may be done as often as one likes.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.drift import ArchivedBatch, BatchComparison, compare
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.models import BatchId, BatchUpdate
from batch_conductor_service.protocols import (
    BatchCacheProtocol,
    BatchRecordsProtocol,
    BatchStateRepositoryProtocol,
    QueuedUpdatesProtocol,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPolicy:
    """How a page of batches is looked at, and repaired.

    Attributes:
        page_size: how many batches are in memory at a time.
        pause_seconds: between the two looks at what differs.
        tries: how often a batch is merged of which something still waits for Postgres.
        retry_seconds: between two such tries.
    """

    page_size: int = 50
    pause_seconds: float = 2
    tries: int = 5
    retry_seconds: float = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedPage:
    """What was found of some batches.

    Attributes:
        audited: how many batches were compared.
        unknown: those nobody has heard of.
        unmerged: those that Redis lacks or has only in part, and merges with Postgres when they
            are next needed; that is no difference.
        differing: those that differ.
    """

    audited: int
    unknown: tuple[BatchId, ...] = ()
    unmerged: tuple[BatchId, ...] = ()
    differing: tuple[BatchComparison, ...] = ()

    @property
    def repairable(self) -> Sequence[BatchId]:
        """The batches that a repair changes, each once."""
        return list(dict.fromkeys([*(one.batch_id for one in self.differing), *self.unmerged]))


class Auditor:
    """Compares batches page by page, so that memory does not grow with their number."""

    def __init__(
        self,
        cache: BatchCacheProtocol,
        records: BatchRecordsProtocol | None,
        queue: QueuedUpdatesProtocol | None,
        dependencies: StepDependencies,
        policy: AuditPolicy,
    ) -> None:
        self._cache = cache
        self._dependencies = dependencies
        self._records = records
        self._queue = queue
        self._policy = policy

    async def list_batches(
        self, batch_ids: Collection[BatchId] = ()
    ) -> AsyncIterator[Sequence[BatchId]]:
        """Return, a page at a time, these batches, or else all that Postgres or Redis knows."""
        if batch_ids:
            for page in _pages(list(dict.fromkeys(batch_ids)), self._policy.page_size):
                yield page
            return
        if self._records is not None:
            async for page in _list_recorded(self._records, self._policy.page_size):
                yield page
        async for some in self._cache.list_batches():
            unlisted = await self._find_unlisted(some)
            for page in _pages(unlisted, self._policy.page_size):
                yield page

    async def audit(self, batch_ids: Sequence[BatchId]) -> AuditedPage:
        """Compare one page of batches."""
        first = await self._look(batch_ids, with_queue=False)
        suspects = [one for one in first if one.differences]
        return AuditedPage(
            audited=len(first),
            unknown=tuple(one.batch_id for one in first if not one.is_known),
            unmerged=tuple(one.batch_id for one in first if one.is_known and not one.is_current),
            differing=tuple(await self._confirm(suspects)) if suspects else (),
        )

    async def _confirm(self, suspects: Sequence[BatchComparison]) -> list[BatchComparison]:
        """Look again, and return what is still as it was."""
        await asyncio.sleep(self._policy.pause_seconds)
        again = await self._look([one.batch_id for one in suspects], with_queue=True)
        confirmed = [
            replace(
                second,
                differences=tuple(d for d in second.differences if d in first.differences),
            )
            for first, second in zip(suspects, again, strict=True)
        ]
        return [one for one in confirmed if one.differences]

    async def _look(
        self, batch_ids: Sequence[BatchId], *, with_queue: bool
    ) -> list[BatchComparison]:
        # In the order in which evidence travels: what leaves a place while we look has arrived at
        # the next by the time we look there.
        cached = await self._cache.read(batch_ids)
        queued = await self._find_queued(batch_ids) if with_queue else {}
        archived = await self._records.read(batch_ids) if self._records else None
        return [
            compare(
                batch_id,
                cached.get(batch_id),
                _archived(batch_id, archived),
                queued.get(batch_id, ()),
                dependencies=self._dependencies,
            )
            for batch_id in batch_ids
        ]

    async def _find_queued(
        self, batch_ids: Sequence[BatchId]
    ) -> Mapping[BatchId, Sequence[BatchUpdate]]:
        """Return what is on its way to Postgres, by batch."""
        queued: dict[BatchId, list[BatchUpdate]] = {}
        for update in await self._queue.find_queued(batch_ids) if self._queue else ():
            queued.setdefault(update.batch_id, []).append(update)
        return queued

    async def _find_unlisted(self, batch_ids: Sequence[BatchId]) -> list[BatchId]:
        """Return those that Postgres does not know, and so did not list."""
        known = await self._records.find_known(batch_ids) if self._records else ()
        return [batch_id for batch_id in batch_ids if batch_id not in known]


class Repairer:
    """Brings Redis and Postgres together again."""

    def __init__(
        self,
        auditor: Auditor,
        cache: BatchCacheProtocol,
        records: BatchRecordsProtocol,
        repository: BatchStateRepositoryProtocol,
        policy: AuditPolicy,
    ) -> None:
        self._auditor = auditor
        self._cache = cache
        self._records = records
        self._repository = repository
        self._policy = policy

    async def repair(self, page: AuditedPage) -> AuditedPage:
        """Merge what differs or is unmerged, and return how those batches are then.

        What Postgres lacked is queued for it, which counts as being there. A batch of which
        something waits for Postgres stays unmerged until that has arrived; it is tried again.
        """
        batch_ids = page.repairable
        missing = {one.batch_id: one.missing for one in page.differing if one.is_cached}
        await self._cache.forget_summaries(list(missing))
        await self._repository.apply(
            [missing.get(one) or BatchUpdate(batch_id=one) for one in batch_ids]
        )
        # Counting is a write, and whatever is written is kept for longer: only where it must be.
        await self._records.recount([one.batch_id for one in page.differing])
        left = await self._auditor.audit(batch_ids)
        for _ in range(self._policy.tries - 1):
            if not left.unmerged:
                break
            await asyncio.sleep(self._policy.retry_seconds)
            await self._repository.apply([BatchUpdate(batch_id=one) for one in left.unmerged])
            left = await self._auditor.audit(batch_ids)
        return left


def _archived(
    batch_id: BatchId, archived: Mapping[BatchId, ArchivedBatch] | None
) -> ArchivedBatch | None:
    if archived is None:
        return None
    return archived.get(batch_id) or ArchivedBatch(state=BatchState(batch_id))


async def _list_recorded(
    records: BatchRecordsProtocol, size: int
) -> AsyncIterator[Sequence[BatchId]]:
    last: BatchId | None = None
    while page := await records.list_batches(last, size):
        yield page
        last = page[-1]


def _pages(batch_ids: Sequence[BatchId], size: int) -> list[Sequence[BatchId]]:
    return [batch_ids[start : start + size] for start in range(0, len(batch_ids), size)]
