"""Whether Redis, Postgres and the queue agree on what is known of batches. Changes nothing.

Safe while the service runs: a difference counts only when it is seen twice, some moment apart, and
what is queued counts as being where it is going.
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
    QueuedUpdatesProtocol,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPolicy:
    """How many batches are in memory at a time, and the moment between the two looks."""

    page_size: int = 50
    pause_seconds: float = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedPage:
    """What was found of some batches.

    Attributes:
        audited: how many batches were compared.
        doubted: how many of them Redis has forgotten or has yet to merge; that is no difference.
        unknown: those nobody has heard of.
        differing: those that differ.
    """

    audited: int
    doubted: int = 0
    unknown: tuple[BatchId, ...] = ()
    differing: tuple[BatchComparison, ...] = ()


class Auditor:
    """Compares batches page by page, so that memory does not grow with their number."""

    def __init__(
        self,
        cache: BatchCacheProtocol,
        records: BatchRecordsProtocol | None,
        queue: QueuedUpdatesProtocol | None,
        dependencies: StepDependencies,
        policy: AuditPolicy | None = None,
    ) -> None:
        self._cache = cache
        self._dependencies = dependencies
        self._records = records
        self._queue = queue
        self._policy = policy or AuditPolicy()

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
            doubted=sum(one.is_known and not one.is_current for one in first),
            unknown=tuple(one.batch_id for one in first if not one.is_known),
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
        queued = await self.find_queued(batch_ids) if with_queue else {}
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

    async def find_queued(
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
