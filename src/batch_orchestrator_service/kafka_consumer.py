"""The consumer: poll, handle, commit what Postgres holds.

An offset moves only when the effects of all records before it are committed in Postgres, and the
dead letters among them acknowledged.
"""

import time

import structlog

from batch_orchestrator_service.consuming.handling import PollHandler
from service_libs.exceptions import TransientError
from service_libs.failpoints import failpoint
from service_libs.kafka.condition import ConditionRecorder
from service_libs.kafka.consumer import LoopPolicy, PollConsumer, UntilAvailable
from service_libs.kafka.records import PartitionsLostError, Poll
from service_libs.kafka.rewinding import Rewinder
from service_libs.protocols import Connect, RecordSourceProtocol, ReplayRequestsProtocol

logger = structlog.get_logger(__name__)


class EventConsumer(PollConsumer):
    """Consumes requests, and what is said of batches, until stopped."""

    def __init__(
        self,
        policy: LoopPolicy,
        connect: Connect,
        handler: PollHandler,
        condition: ConditionRecorder,
        requests: ReplayRequestsProtocol,
    ) -> None:
        super().__init__(policy, connect, condition)
        self._handler = handler
        self._rewinder = Rewinder(requests, lambda _points: None)  # nothing is in flight
        self._look_due = 0.0  # monotonic seconds

    async def _handle(
        self, source: RecordSourceProtocol, poll: Poll, until_available: UntilAvailable
    ) -> None:
        await self._handler.handle(poll.records, until_available)
        source.progress.finish()
        points = {(one.topic, one.partition): one.offset + 1 for one in poll.records}
        failpoint("bos.uncommitted")
        try:
            await source.commit(points)
        except PartitionsLostError:
            logger.info("commit_lost_to_rebalance")  # read again, and found to be done
        failpoint("bos.committed")

    async def _tend(self, source: RecordSourceProtocol) -> None:
        """Read again what a person asks for; what was handled is committed."""
        if time.monotonic() < self._look_due:
            return
        self._look_due = time.monotonic() + self._policy.commit_interval_seconds
        try:
            await self._rewinder.answer(source)
        except PartitionsLostError:
            # Whoever owns the partition next carries it out.
            logger.info("replay_lost_to_rebalance")
        except TransientError as exc:
            logger.warning("replay_not_looked_for", error=type(exc).__name__)

    async def _drain(self, source: RecordSourceProtocol) -> None:
        """Do nothing: what was handled is committed by then."""

    def _forget(self) -> None:
        """Do nothing: between two polls nothing is in flight."""
