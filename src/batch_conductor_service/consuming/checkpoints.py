"""The regular look at what Postgres holds: commit it, and read no faster than it is taken."""

import asyncio

import structlog

from batch_conductor_service.consuming.deleted_records import RetentionWatch
from batch_conductor_service.consuming.durability import DurabilityTracker, QueueReplacedError
from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.consuming.rewinding import Rewinder
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.protocols import ReplayRequestsProtocol
from service_libs.exceptions import TransientError
from service_libs.kafka.condition import ConditionRecorder, ConsumerState
from service_libs.kafka.records import PartitionsLostError
from service_libs.protocols import RecordSourceProtocol

logger = structlog.get_logger(__name__)


class Checkpoints:
    """Commits and back-pressure of one consumer. Never raises: the next look tries again."""

    def __init__(
        self,
        policy: ConsumerPolicy,
        tracker: DurabilityTracker,
        condition: ConditionRecorder,
        metrics: Metrics,
        requests: ReplayRequestsProtocol | None,
    ) -> None:
        self._policy = policy
        self._tracker = tracker
        self._condition = condition
        self._retention = RetentionWatch(metrics)
        self._rewinder = Rewinder(requests, tracker) if requests else None

    async def take(self, source: RecordSourceProtocol) -> None:
        """Commit what is held, and pause or resume."""
        try:
            await self._commit(source)
            await self._regulate(source)
            if self._rewinder is not None:
                await self._rewinder.answer(source)
        except PartitionsLostError:
            # The rebalance that follows forgets what is in flight; whoever owns it reads it again.
            logger.info("checkpoint_lost_to_rebalance")
        except TransientError as exc:
            logger.warning("checkpoint_failed", error=type(exc).__name__)

    async def drain(self, source: RecordSourceProtocol) -> None:
        """Wait, bounded, for Postgres to hold what is in flight, committing as it does."""
        try:
            async with asyncio.timeout(self._policy.drain_timeout_seconds):
                await self._drain(source)
        except TimeoutError:
            logger.warning("drain_incomplete", records_in_flight=self._tracker.in_flight)
        except TransientError as exc:
            logger.warning("drain_failed", error=type(exc).__name__)

    async def _drain(self, source: RecordSourceProtocol) -> None:
        await self._commit(source)
        while self._tracker.in_flight:
            await asyncio.sleep(self._policy.drain_look_seconds)
            await self._commit(source)

    async def _commit(self, source: RecordSourceProtocol) -> None:
        await self._retention.check(source)
        try:
            points = await self._tracker.find_commit_points()
        except QueueReplacedError as exc:
            logger.warning("queue_replaced_so_replaying", partitions=len(exc.replay_from))
            source.rewind(exc.replay_from)
            return
        if points:
            await source.commit(points)
            self._tracker.discard(points)
        await self._commit_ends(source)

    async def _commit_ends(self, source: RecordSourceProtocol) -> None:
        """Commit where reading stands, behind markers that end transactions: they are no records.

        Else the group would seem to be behind for ever, and when the log is emptied, as if it had
        lost what it never read.
        """
        ends = {
            partition: offset
            for partition, offset in source.progress.read_ends().items()
            if not self._tracker.has_in_flight(partition)
            and source.committed.get(partition) != offset
        }
        if ends:
            await source.commit(ends)

    async def _regulate(self, source: RecordSourceProtocol) -> None:
        waiting, size = await self._tracker.measure_waiting()
        is_paused = self._condition.current.state is ConsumerState.PAUSED or source.is_paused
        share = 0.5 if is_paused else 1
        is_full = waiting > share * self._policy.queue_high_water
        if is_full or size > share * self._policy.queue_high_water_bytes:
            source.pause()  # again at each look: a rebalance brings partitions that fetch
            if self._condition.enter(ConsumerState.PAUSED):
                logger.warning("consumption_paused", waiting=waiting, size_bytes=size)
        elif is_paused:
            await self._retention.check_paused(source)
            source.resume()
            self._condition.enter(ConsumerState.CONSUMING)
            logger.info("consumption_resumed", waiting=waiting)
