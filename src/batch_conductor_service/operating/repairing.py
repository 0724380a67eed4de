"""Mending what an audit found, and making Redis anew from Postgres: both by merging.

Nothing is overwritten or removed here: a batch is put in doubt, and the repository's own way for a
batch in doubt merges what Redis and Postgres have. So it may be done at any time, as often as one
likes, while the service runs.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from batch_conductor_service.domain.drift import BatchComparison, CachedBatch, merged
from batch_conductor_service.models import BatchId, BatchUpdate
from batch_conductor_service.operating.auditing import Auditor
from batch_conductor_service.protocols import (
    BatchCacheProtocol,
    BatchRecordsProtocol,
    BatchStateRepositoryProtocol,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildPolicy:
    """How often a batch is tried, of which something waits for Postgres, and with what pauses."""

    tries: int = 5
    pause_seconds: float = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuiltPage:
    """What became of some batches.

    Attributes:
        made_whole: how many are whole in Redis.
        left: those that are not.
    """

    made_whole: int
    left: tuple[BatchId, ...]


class Repairer:
    """Brings Redis and Postgres together again."""

    def __init__(
        self,
        auditor: Auditor,
        cache: BatchCacheProtocol,
        records: BatchRecordsProtocol,
        repository: BatchStateRepositoryProtocol,
        policy: RebuildPolicy | None = None,
    ) -> None:
        self._auditor = auditor
        self._cache = cache
        self._records = records
        self._repository = repository
        self._policy = policy or RebuildPolicy()

    async def repair(self, found: Sequence[BatchComparison]) -> Sequence[BatchComparison]:
        """Merge both sides, and return what still differs then.

        What Postgres lacked is queued for it, which counts as being there.
        """
        cached = [one for one in found if one.is_cached]
        await self._cache.forget_summaries([one.batch_id for one in cached])
        await self._repository.apply([one.missing for one in cached])
        batch_ids = [one.batch_id for one in found]
        await self._records.recount(batch_ids)
        return (await self._auditor.audit(batch_ids)).differing

    async def rebuild(self, batch_ids: Sequence[BatchId]) -> RebuiltPage:
        """Make the batches anew in Redis, of all that Postgres, Redis and the queue know.

        A batch of which something waits for Postgres cannot be held for whole before that has
        arrived; it is tried again a few times.
        """
        queued = await self._auditor.find_queued(batch_ids)
        await self._cache.forget_summaries(batch_ids)
        await self._repository.apply(
            [merged(one, *queued.get(one, ())).as_update() for one in batch_ids]
        )
        page = await self.look(batch_ids)
        for _ in range(self._policy.tries - 1):
            if page.left:
                await asyncio.sleep(self._policy.pause_seconds)
                await self._repository.apply([BatchUpdate(batch_id=one) for one in page.left])
                page = await self.look(batch_ids)
        return page

    async def look(self, batch_ids: Sequence[BatchId]) -> RebuiltPage:
        """Return how the batches are in Redis, and change nothing."""
        cached = await self._cache.read(batch_ids)
        left = [one for one in batch_ids if not _is_whole(cached.get(one))]
        return RebuiltPage(made_whole=len(batch_ids) - len(left), left=tuple(left))


def _is_whole(cached: CachedBatch | None) -> bool:
    return cached is not None and cached.is_current and not cached.faults
