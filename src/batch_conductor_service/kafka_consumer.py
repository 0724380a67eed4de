"""The consumer: poll, apply or dead-letter, and commit what Postgres holds.

An offset moves only after its effect is durable: when the queue has passed it on to Postgres, which
is asked for between polls.
"""

import time

from batch_conductor_service.consuming.checkpoints import Checkpoints
from batch_conductor_service.consuming.durability import DurabilityTracker
from batch_conductor_service.consuming.handling import PollHandler
from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.domain.freshness import PartitionFreshness
from common_core.records import Partition
from service_libs.kafka.condition import ConditionRecorder
from service_libs.kafka.consumer import PollConsumer, UntilAvailable
from service_libs.kafka.records import Poll
from service_libs.protocols import Connect, RecordSourceProtocol


class EventConsumer(PollConsumer):
    """Consumes completion events until stopped."""

    def __init__(
        self,
        policy: ConsumerPolicy,
        connect: Connect,
        handler: PollHandler,
        tracker: DurabilityTracker,
        condition: ConditionRecorder,
        checkpoints: Checkpoints,
    ) -> None:
        super().__init__(policy, connect, condition)
        self._handler = handler
        self._tracker = tracker
        self._checkpoints = checkpoints
        self._checkpoint_due = 0.0  # monotonic seconds

    def promises(self) -> dict[Partition, PartitionFreshness]:
        """Return up to when all that its partitions held is applied, of those that it reads."""
        if self._progress is None:
            return {}
        return self._tracker.promise(self._progress.applied_until())

    async def _handle(
        self, source: RecordSourceProtocol, poll: Poll, until_available: UntilAvailable
    ) -> None:
        await until_available(self._tracker.prepare)
        handled = await self._handler.handle(poll.records, until_available)
        if poll.assignment == source.assignment:  # the revocation did not have to go ahead
            for position, entry_id in handled:
                self._tracker.add(position, entry_id)
            source.progress.finish()

    async def _tend(self, source: RecordSourceProtocol) -> None:
        if time.monotonic() >= self._checkpoint_due:
            await self._checkpoints.take(source)
            self._checkpoint_due = time.monotonic() + self._policy.commit_interval_seconds

    async def _drain(self, source: RecordSourceProtocol) -> None:
        await self._checkpoints.drain(source)

    def _forget(self) -> None:
        self._tracker.in_flight.clear()
