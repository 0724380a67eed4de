"""The loop of a consumer: poll, have it handled, over one connection after the other.

What handling means, and when an offset may move, is the service's. A dependency that is down is
waited for, with back-off, and nothing is ever skipped for it.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from service_libs.exceptions import BrokerUnavailableError, HaltError, TransientError
from service_libs.kafka.condition import ConditionRecorder, ConsumerCondition, ConsumerState
from service_libs.kafka.patience import (
    Patience,
    PollAbandonedError,
    UnreadablePollError,
    UnreadableRecords,
    unless_stopped,
)
from service_libs.kafka.policy import SourcePolicy
from service_libs.kafka.reading_progress import ReadingProgress
from service_libs.kafka.records import PartitionsLostError, Poll
from service_libs.protocols import Connect, RecordSourceProtocol
from service_libs.timing import Backoff

logger = structlog.get_logger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPolicy(SourcePolicy):
    """How long the loop waits.

    Attributes:
        close_timeout_seconds: longest wait at the stop for the broker to let go.
        stuck_timeout_seconds: lag without progress, or a rebalance without end, after which a
            new source is made; must exceed the rebalance.
        max_backoff_seconds: longest wait between two tries.
    """

    close_timeout_seconds: float = 1
    stuck_timeout_seconds: float = 60
    max_backoff_seconds: float = 5


class UntilAvailable(Protocol):
    """Tries again until it works.

    Raises `PollAbandonedError` where the poll is another's by now, or the service stops.
    """

    async def __call__(self, attempt: Callable[[], Awaitable[Result]], /) -> Result: ...


class ConsumerStuckError(BrokerUnavailableError):
    """There is something to read and nothing is read, or the group gives no partitions out."""


class PollConsumer(ABC):
    """Consumes until stopped.

    The unit of work is a poll. It is handled wholly or, when a dependency is down while its
    partitions are given away or the service stops, abandoned: nothing of it is committed, so
    whoever reads the partitions next reads it again.
    """

    name = "consumer"

    def __init__(self, policy: LoopPolicy, connect: Connect, condition: ConditionRecorder) -> None:
        self._policy = policy
        self._connect = connect
        self._condition = condition
        # Of the source there is. Without one nothing is promised; what was stays true, and ages.
        self._progress: ReadingProgress | None = None
        self._unreadable = UnreadableRecords()
        self._patience = Patience(condition, policy.max_backoff_seconds)
        self._backoff = Backoff(policy.max_backoff_seconds)
        self._stopping = asyncio.Event()
        # Held while records or offsets are handled, never while waiting for records: a revocation
        # takes it, and `getmany` waits for the revocation.
        self._in_hand = asyncio.Lock()
        self._stall_check_due = 0.0  # monotonic seconds

    @property
    def condition(self) -> ConsumerCondition:
        """What the consumer is doing, and since when."""
        return self._condition.current

    async def run(self) -> None:
        """Consume until `stop`, with a new source whenever one is lost or stuck.

        Raises:
            HaltError: too many records are invalid, or one cannot be read; starting again would
                not help.
        """
        try:
            while not self._stopping.is_set():
                await self._run_source()
        except HaltError as exc:
            self._condition.note_trouble(str(exc))
            self._condition.enter(ConsumerState.HALTED)
            raise
        self._condition.enter(ConsumerState.STOPPED)

    def stop(self) -> None:
        """Have `run` finish the poll in hand, commit what is held by then, and leave the group."""
        self._stopping.set()
        self._patience.wake()

    @abstractmethod
    async def _handle(
        self, source: RecordSourceProtocol, poll: Poll, until_available: UntilAvailable
    ) -> None:
        """Apply the poll, and say to the source's progress that it is finished.

        Raises:
            PollAbandonedError: as `until_available` does.
        """

    @abstractmethod
    async def _tend(self, source: RecordSourceProtocol) -> None:
        """Do what is due after every poll, one without records too."""

    @abstractmethod
    async def _drain(self, source: RecordSourceProtocol) -> None:
        """Commit what can be, before partitions are given away and at the stop."""

    @abstractmethod
    def _forget(self) -> None:
        """Forget what is in flight: others read it again."""

    async def _run_source(self) -> None:
        self._condition.enter(ConsumerState.CONNECTING)
        source = self._connect(self._give_up_partitions)
        self._progress = source.progress
        try:
            grace = self._policy.drain_timeout_seconds + self._policy.close_timeout_seconds
            await self._unless_stopped(self._consume(source), grace)
        except UnreadablePollError as exc:
            # What the poll had of other partitions is lost with it, so all is read again.
            logger.exception("poll_unreadable")
            self._unreadable.observe(exc)
        except TransientError as exc:
            self._condition.enter(ConsumerState.CONNECTING)
            self._condition.note_trouble(str(exc))
            # The cause's type distinguishes a broker that is away from a setting that it refuses.
            cause = type(exc.__cause__).__name__ if exc.__cause__ else None
            logger.warning("kafka_connection_lost", error=type(exc).__name__, cause=cause)
        finally:
            # First of all: the source may go on to fetch behind records that are in hand.
            self._progress = None
            await self._close(source)
            self._forget()
        await self._patience.sleep(self._backoff.next_delay(), self._stopping.is_set)

    async def _close(self, source: RecordSourceProtocol) -> None:
        grace = self._policy.close_timeout_seconds
        if not await self._unless_stopped(source.close(), grace):
            await source.abandon()

    async def _consume(self, source: RecordSourceProtocol) -> None:
        await self._unless_stopped(source.open())
        if self._stopping.is_set():
            return
        self._condition.enter(ConsumerState.JOINING)
        self._postpone_stall_check()
        logger.info("consumer_connected", group_id=self._policy.group_id)
        while not self._stopping.is_set():
            await self._run_once(source)
        async with self._in_hand:
            await self._drain(source)

    async def _run_once(self, source: RecordSourceProtocol) -> None:
        poll = await self._next_poll(source)
        self._show_assignment(source)
        if not poll.records:
            await self._check_for_stall(source)
        async with self._in_hand:
            if poll.records and poll.assignment == source.assignment:
                await self._try_to_handle(source, poll)
            await self._tend(source)

    async def _next_poll(self, source: RecordSourceProtocol) -> Poll:
        """Return the next records, or none after the commit interval or when stopped.

        Raises:
            ConsumerStuckError: there was no answer: a rebalance does not come to its end.
        """
        try:
            async with asyncio.timeout(self._policy.stuck_timeout_seconds):
                poll = await self._unless_stopped(source.poll())
        except TimeoutError as exc:
            raise ConsumerStuckError from exc
        return poll or Poll((), source.assignment)

    async def _try_to_handle(self, source: RecordSourceProtocol, poll: Poll) -> None:
        def is_abandoned() -> bool:
            is_stale = poll.assignment != source.assignment
            return self._stopping.is_set() or source.is_rebalancing or is_stale

        async def until_available(attempt: Callable[[], Awaitable[Result]], /) -> Result:
            return await self._patience.until_available(attempt, is_abandoned)

        try:
            await self._handle(source, poll, until_available)
        except PollAbandonedError:
            logger.info("poll_abandoned", records=len(poll.records))
            return
        self._backoff.reset()
        self._condition.note_progress()
        self._postpone_stall_check()

    async def _check_for_stall(self, source: RecordSourceProtocol) -> None:
        """Ask the broker, now and then, whether there really is nothing to read.

        Raises:
            ConsumerStuckError: there is; or there should be an assignment by now.
        """
        if source.is_paused:
            self._postpone_stall_check()
        if time.monotonic() < self._stall_check_due:
            return
        self._postpone_stall_check()
        try:
            is_stuck = await source.is_stuck()
        except PartitionsLostError:
            return
        if is_stuck:
            raise ConsumerStuckError

    def _postpone_stall_check(self) -> None:
        self._stall_check_due = time.monotonic() + self._policy.stuck_timeout_seconds

    async def _give_up_partitions(self, source: RecordSourceProtocol) -> None:
        """Finish or abandon the poll in hand, and drain; bounded, for the whole group waits."""
        self._patience.wake()
        try:
            # Half of what the group allows, so that there is time left to join again.
            async with asyncio.timeout(self._policy.rebalance_timeout_seconds / 2), self._in_hand:
                await self._drain(source)
        except TimeoutError:
            logger.warning("partitions_given_up_undrained")
        finally:
            self._forget()
            self._show_assignment(source)

    def _show_assignment(self, source: RecordSourceProtocol) -> None:
        self._condition.note_assignment(
            is_settled=not source.is_rebalancing, has_partitions=source.has_partitions
        )

    async def _unless_stopped(
        self, work: Coroutine[Any, Any, Result], grace_seconds: float = 0
    ) -> Result | None:
        return await unless_stopped(self._stopping, work, grace_seconds)
