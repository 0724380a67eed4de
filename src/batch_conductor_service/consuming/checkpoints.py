"""The regular look at what Postgres holds: commit it, and read no faster than it is taken."""

import asyncio

import structlog

from batch_conductor_service.consuming.condition import ConditionRecorder, ConsumerState
from batch_conductor_service.consuming.connection import KafkaConnection, PartitionsLostError
from batch_conductor_service.consuming.durability import DurabilityTracker, QueueReplacedError
from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.consuming.replaying import Rewinder
from batch_conductor_service.consuming.retention import RetentionWatch
from batch_conductor_service.exceptions import TransientError
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.services.replaying import ReplayRequestsProtocol

DRAIN_POLL_SECONDS = 0.05  # between two looks while draining

logger = structlog.get_logger(__name__)


class Checkpoints:
    """Commits and back-pressure of one consumer. Never raises: the next look tries again."""

    def __init__(
        self,
        policy: ConsumerPolicy,
        tracker: DurabilityTracker,
        condition: ConditionRecorder,
        metrics: Metrics,
    ) -> None:
        self._policy = policy
        self._tracker = tracker
        self._condition = condition
        self._metrics = metrics
        self._retention = RetentionWatch(metrics)
        self._rewinder: Rewinder | None = None

    def obey(self, requests: ReplayRequestsProtocol) -> None:
        """Look for requests to read again, too."""
        self._rewinder = Rewinder(requests, self._tracker)

    async def take(self, connection: KafkaConnection) -> None:
        """Commit what is held, and pause or resume."""
        try:
            await self._commit(connection)
            await self._regulate(connection)
            if self._rewinder is not None:
                await self._rewinder.obey(connection)
        except PartitionsLostError:
            # The rebalance that follows forgets what is in flight; whoever owns it reads it again.
            logger.info("checkpoint_lost_to_rebalance")
        except TransientError as exc:
            logger.warning("checkpoint_failed", error=type(exc).__name__)

    async def drain(self, connection: KafkaConnection) -> None:
        """Wait, bounded, for Postgres to hold what is in flight, committing as it does."""
        try:
            async with asyncio.timeout(self._policy.drain_timeout_seconds):
                await self._drain(connection)
        except TimeoutError:
            logger.warning("drain_incomplete", records_in_flight=self._tracker.in_flight)
        except TransientError as exc:
            logger.warning("drain_failed", error=type(exc).__name__)

    async def _drain(self, connection: KafkaConnection) -> None:
        await self._commit(connection)
        while self._tracker.in_flight:
            await asyncio.sleep(DRAIN_POLL_SECONDS)
            await self._commit(connection)

    async def _commit(self, connection: KafkaConnection) -> None:
        await self._retention.check(connection)
        try:
            points = await self._tracker.find_commit_points()
        except QueueReplacedError as exc:
            logger.warning("queue_replaced_so_replaying", partitions=len(exc.replay_from))
            connection.rewind(exc.replay_from)
            return
        if points:
            await connection.commit(points)
            self._tracker.discard(points)
        await self._commit_ends(connection)

    async def _commit_ends(self, connection: KafkaConnection) -> None:
        """Commit where reading stands, behind markers that end transactions: they are no records.

        Else the group would seem to be behind for ever, and when the log is emptied, as if it had
        lost what it never read.
        """
        ends = {
            partition: offset
            for partition, offset in connection.progress.read_ends().items()
            if not self._tracker.has_in_flight(partition)
            and connection.committed.get(partition) != offset
        }
        if ends:
            await connection.commit(ends)

    async def _regulate(self, connection: KafkaConnection) -> None:
        waiting, size = await self._tracker.measure_waiting()
        is_paused = self._condition.current.state is ConsumerState.PAUSED or connection.is_paused
        share = 0.5 if is_paused else 1
        is_full = waiting > share * self._policy.queue_high_water
        if is_full or size > share * self._policy.queue_high_water_bytes:
            connection.pause()  # again at each look: a rebalance brings partitions that fetch
            if self._condition.enter(ConsumerState.PAUSED):
                logger.warning("consumption_paused", waiting=waiting, size_bytes=size)
        elif is_paused:
            await self._retention.check_paused(connection)
            connection.resume()
            self._condition.enter(ConsumerState.CONSUMING)
            logger.info("consumption_resumed", waiting=waiting)
