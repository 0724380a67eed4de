"""The consumer: poll, handle, commit what Postgres holds.

An offset moves only when the effects of all records before it are committed in Postgres, and the
dead letters among them acknowledged.
"""

import structlog

from batch_orchestrator_service.consuming.handling import PollHandler
from service_libs.failpoints import failpoint
from service_libs.kafka.condition import ConditionRecorder
from service_libs.kafka.consumer import LoopPolicy, PollConsumer, UntilAvailable
from service_libs.kafka.records import PartitionsLostError, Poll
from service_libs.protocols import Connect, RecordSourceProtocol

logger = structlog.get_logger(__name__)


class EventConsumer(PollConsumer):
    """Consumes requests, and what is said of batches, until stopped."""

    def __init__(
        self,
        policy: LoopPolicy,
        connect: Connect,
        handler: PollHandler,
        condition: ConditionRecorder,
    ) -> None:
        super().__init__(policy, connect, condition)
        self._handler = handler

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
        """Do nothing: what was handled is committed."""

    async def _drain(self, source: RecordSourceProtocol) -> None:
        """Do nothing, as above."""

    def _forget(self) -> None:
        """Do nothing: between two polls nothing is in flight."""
