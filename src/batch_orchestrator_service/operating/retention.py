"""Deleting what nobody asks for any more: ended runs, batches without any, notes.

Longer than Kafka keeps requests, and than the gateway keeps keys: a click that comes again is known
as long as it can come. What waits, runs, or is not sent yet is never deleted.
"""

from collections.abc import Awaitable, Callable

import structlog

from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.protocols import OldRecordsProtocol
from service_libs.retention import RetentionPolicy, RetentionTask

logger = structlog.get_logger(__name__)

Delete = Callable[[int, int], Awaitable[int]]


class Retention(RetentionTask):
    """The background task that deletes what is old, a few at a time."""

    def __init__(
        self, policy: RetentionPolicy, records: OldRecordsProtocol, metrics: Metrics
    ) -> None:
        super().__init__(policy)
        # Runs before batches: one that has runs is not deleted.
        self._deletions: dict[str, Delete] = {
            "runs": records.delete_runs,
            "batches": records.delete_batches,
            "notes": records.delete_notes,
        }
        self._metrics = metrics

    async def sweep(self) -> None:
        """Delete what is old by now."""
        for kind, delete in self._deletions.items():
            total = await self._delete_all(kind, delete) if self._policy.days else 0
            if total:
                logger.info("old_records_deleted", kind=kind, count=total)

    async def _delete_all(self, kind: str, delete: Delete) -> int:
        total = 0
        while count := await delete(self._policy.days, self._policy.at_a_time):
            total += count
            self._metrics.deleted.labels(kind).inc(count)
            if await self.is_stopped_within(self._policy.pause_seconds):
                break
        return total
