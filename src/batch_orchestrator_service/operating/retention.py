"""Deleting what nobody asks for any more: ended runs, batches without any, notes.

Longer than Kafka keeps requests, and than the gateway keeps keys: a click that comes again is known
as long as it can come. What waits, runs, or is not sent yet is never deleted.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.protocols import OldRecordsProtocol
from service_libs.exceptions import TransientError
from service_libs.timing import Wakeups

logger = structlog.get_logger(__name__)

Delete = Callable[[int, int], Awaitable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """After how many days things are deleted (0: never), how often that is looked at, and how.

    Attributes:
        pause_seconds: after each few, so that the work of others goes on.
    """

    days: int
    interval_seconds: float = 3600
    at_a_time: int = 100
    pause_seconds: float = 0.1


class Retention:
    """The background task that deletes what is old, a few at a time."""

    name = "retention"

    def __init__(
        self, policy: RetentionPolicy, records: OldRecordsProtocol, metrics: Metrics
    ) -> None:
        self._policy = policy
        # Runs before batches: one that has runs is not deleted.
        self._deletions: dict[str, Delete] = {
            "runs": records.delete_runs,
            "batches": records.delete_batches,
            "notes": records.delete_notes,
        }
        self._metrics = metrics
        self._wakeups = Wakeups()

    async def run(self) -> None:
        while not await self._is_stopped_within(self._policy.interval_seconds):
            try:
                await self.sweep()
            except TransientError as exc:
                logger.warning("retention_postponed", error=str(exc))

    def stop(self) -> None:
        self._wakeups.stop()

    async def sweep(self) -> None:
        """Delete what is old by now.

        Raises:
            TransientError: the store is away; what was deleted by then is.
        """
        for kind, delete in self._deletions.items():
            total = await self._delete_all(kind, delete) if self._policy.days else 0
            if total:
                logger.info("old_records_deleted", kind=kind, count=total)

    async def _delete_all(self, kind: str, delete: Delete) -> int:
        total = 0
        while count := await delete(self._policy.days, self._policy.at_a_time):
            total += count
            self._metrics.deleted.labels(kind).inc(count)
            if await self._is_stopped_within(self._policy.pause_seconds):
                break
        return total

    async def _is_stopped_within(self, seconds: float) -> bool:
        await self._wakeups.pause(seconds)
        return self._wakeups.is_stopping
