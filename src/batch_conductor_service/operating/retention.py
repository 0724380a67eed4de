"""Deleting the batches that nothing was said of for a long time.

Longer than any topic's retention, so that nothing that is deleted comes back in part. What waits
for Postgres is never taken for silence.
"""

import structlog

from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import IdleBatch
from batch_conductor_service.protocols import IdleBatchesProtocol, PassingBatchesProtocol
from service_libs.retention import RetentionPolicy, RetentionTask

logger = structlog.get_logger(__name__)


class Retention(RetentionTask):
    """The background task that deletes idle batches, one at a time."""

    def __init__(
        self,
        policy: RetentionPolicy,
        idle: IdleBatchesProtocol,
        passing: PassingBatchesProtocol,
        metrics: Metrics,
    ) -> None:
        super().__init__(policy)
        self._idle = idle
        self._passing = passing
        self._metrics = metrics

    async def sweep(self) -> None:
        """Delete what is idle by now; what waits meanwhile is left for the next time."""
        last: IdleBatch | None = None
        while self._policy.days and not self._wakeups.is_stopping:
            found = await self._idle.find(self._policy.days, last, self._policy.at_a_time)
            if not found:
                return
            for batch in found:
                await self._delete(batch)
                if await self.is_stopped_within(self._policy.pause_seconds):
                    return
            last = found[-1]

    async def _delete(self, batch: IdleBatch) -> None:
        async def may_go() -> bool:
            if await self._passing.is_waiting(batch.batch_id):
                return False
            await self._passing.forget(batch.batch_id)
            return True

        if await self._idle.delete(batch.batch_id, self._policy.days, may_go):
            self._metrics.batches_deleted.inc()
            logger.info(
                "batch_deleted",
                batch_id=batch.batch_id,
                last_said_at=batch.last_said_at.isoformat(),
            )
            # Once more: somebody may have read, in between, what is there no longer.
            await self._passing.forget(batch.batch_id)
