"""The regular look at what Postgres holds: commit it, and read no faster than it is taken.

With it go two things that must be done before anything more is committed or read: reporting what
the broker has deleted unread, and reading again what a person asks for.
"""

import asyncio
import time

import structlog

from batch_conductor_service.consuming.durability import DurabilityTracker, QueueReplacedError
from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.metrics import Metrics
from common_core.records import Partition
from service_libs.exceptions import BrokerUnavailableError, TransientError
from service_libs.kafka.condition import ConditionRecorder, ConsumerState
from service_libs.kafka.records import PartitionsLostError
from service_libs.kafka.rewinding import Rewinder
from service_libs.protocols import RecordSourceProtocol, ReplayRequestsProtocol

CHECK_SECONDS = 2  # longest look for deleted records: the consumer does nothing else meanwhile
RETRY_SECONDS = 30  # after a look that the broker did not answer

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
        self._rewinder = Rewinder(requests, tracker.in_flight.forget) if requests else None

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
                await self._commit(source)
                while self._tracker.in_flight:
                    await asyncio.sleep(self._policy.drain_look_seconds)
                    await self._commit(source)
        except TimeoutError:
            logger.warning("drain_incomplete", records_in_flight=len(self._tracker.in_flight))
        except TransientError as exc:
            logger.warning("drain_failed", error=type(exc).__name__)

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
            self._tracker.in_flight.discard(points)
        await self._commit_ends(source)

    async def _commit_ends(self, source: RecordSourceProtocol) -> None:
        """Commit where reading stands, behind markers that end transactions: they are no records.

        Else the group would seem to be behind for ever, and when the log is emptied, as if it had
        lost what it never read.
        """
        ends = {
            partition: offset
            for partition, offset in source.progress.read_ends().items()
            if not self._tracker.in_flight.has_any(partition)
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
            await self._retention.look(source, unread=True)
            source.resume()
            self._condition.enter(ConsumerState.CONSUMING)
            logger.info("consumption_resumed", waiting=waiting)


class RetentionWatch:
    """Reports records that the broker has deleted before they were read: no more can be done.

    It looks after each assignment and each pause: else a gap would be passed by in silence.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._checked: tuple[RecordSourceProtocol, int] | None = None
        self._retry_due = 0.0  # monotonic seconds
        self._reported: set[tuple[Partition, int]] = set()

    async def check(self, source: RecordSourceProtocol) -> None:
        """Report what was deleted of partitions newly assigned; before anything more is committed.

        Raises:
            PartitionsLostError: a rebalance came in between.
        """
        current = (source, source.assignment)
        is_due = self._checked != current and time.monotonic() >= self._retry_due
        if is_due and not source.is_rebalancing and await self.look(source):
            self._checked = current

    async def look(self, source: RecordSourceProtocol, *, unread: bool = False) -> bool:
        """Report what was deleted uncommitted, or unread, as after a pause before more is read.

        Returns:
            Whether the broker has answered: one without a leader holds up nothing else.

        Raises:
            PartitionsLostError: a rebalance came in between.
        """
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                deleted = await source.find_deleted(unread=unread)
        except (BrokerUnavailableError, TimeoutError):
            self._retry_due = time.monotonic() + RETRY_SECONDS
            logger.warning("retention_not_checked")
            return False
        for partition, offsets in deleted.items():
            if (partition, offsets.start) not in self._reported:
                self._reported.add((partition, offsets.start))
                self._report(partition, offsets)
        return True

    def _report(self, partition: Partition, offsets: range) -> None:
        topic, number = partition
        logger.critical(
            "uncommitted_records_deleted",
            topic=topic,
            partition=number,
            first_offset=offsets.start,
            records=len(offsets),
        )
        self._metrics.records_deleted.labels(topic, number).inc(len(offsets))
