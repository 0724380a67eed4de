"""The regular look at what is overdue and what waits. It changes nothing but what was reported."""

import structlog

from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.protocols import OutboxProtocol, RunStoreProtocol
from service_libs.exceptions import TransientError
from service_libs.protocols import ClockProtocol
from service_libs.timing import Wakeups

LOOK_SECONDS = 2.0

logger = structlog.get_logger(__name__)


class OverdueWatch:
    """The background task that reports stalled phases, each once, and shows how much waits.

    Nothing is sent again by itself: a phase that is late may yet come.
    """

    name = "overdue_watch"

    def __init__(
        self,
        store: RunStoreProtocol,
        outbox: OutboxProtocol,
        metrics: Metrics,
        clock: ClockProtocol,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock
        self._wakeups = Wakeups()

    async def run(self) -> None:
        while not self._wakeups.is_stopping:
            try:
                await self.look()
            except TransientError as exc:
                logger.warning("overdue_not_looked_for", error=str(exc))
            await self._wakeups.wait(LOOK_SECONDS)

    def stop(self) -> None:
        self._wakeups.stop()

    async def look(self) -> None:
        """Report and show what is overdue by now.

        Raises:
            TransientError: the store cannot be reached.
        """
        now = self._clock.now()
        for stalled in await self._store.report_stalled(now):
            logger.error(
                "phase_stalled",
                batch_id=stalled.batch_id,
                run_id=str(stalled.run_id),
                phase=stalled.phase,
                deadline_at=stalled.deadline_at.isoformat(),
            )
        self._metrics.stalled_phases.set(await self._store.count_stalled(now))
        backlog = await self._outbox.get_backlog(now)
        self._metrics.outbox_depth.set(backlog.depth)
        self._metrics.outbox_age.set(backlog.oldest_age_seconds)
