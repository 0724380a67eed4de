"""The consumer: poll, handle, commit what Postgres holds.

An offset moves only when the effects of all records before it are committed in Postgres, and the
dead letters among them acknowledged. A dependency that is down is waited for; nothing is skipped.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from batch_orchestrator_service.consuming.handling import PollHandler
from service_libs.exceptions import BrokerUnavailableError, HaltError, TransientError
from service_libs.failpoints import failpoint
from service_libs.kafka.bad_records import UnreadablePollError, UnreadableRecords
from service_libs.kafka.condition import ConditionRecorder, ConsumerState
from service_libs.kafka.patience import Patience, PollAbandonedError, unless_stopped
from service_libs.kafka.records import PartitionsLostError, Poll
from service_libs.protocols import Connect, RecordSourceProtocol
from service_libs.timing import Backoff

MAX_BACKOFF_SECONDS = 5.0
STUCK_SECONDS = 60.0  # lag without progress, or a rebalance without end
GRACE_SECONDS = 3.0  # at the stop, for the poll in hand and for the broker to let go

logger = structlog.get_logger(__name__)


class EventConsumer:
    """Consumes until stopped, a poll at a time.

    One that is abandoned is read again by whoever has its partitions next.
    """

    name = "consumer"

    def __init__(
        self, connect: Connect, handler: PollHandler, condition: ConditionRecorder
    ) -> None:
        self._connect = connect
        self._handler = handler
        self._condition = condition
        self._patience = Patience(condition, MAX_BACKOFF_SECONDS)
        self._backoff = Backoff(MAX_BACKOFF_SECONDS)
        self._unreadable = UnreadableRecords()
        self._stopping = asyncio.Event()
        # Held while records are handled: a revocation waits for it.
        self._in_hand = asyncio.Lock()
        self._stall_check_due = 0.0  # monotonic seconds

    async def run(self) -> None:
        """Consume until `stop`, with a new connection whenever one is lost.

        Raises:
            HaltError: too many records are invalid, or one cannot be read.
        """
        try:
            while not self._stopping.is_set():
                await self._run_connection()
        except HaltError as exc:
            self._condition.note_trouble(str(exc))
            self._condition.enter(ConsumerState.HALTED)
            raise
        self._condition.enter(ConsumerState.STOPPED)

    def stop(self) -> None:
        self._stopping.set()
        self._patience.wake()

    async def _run_connection(self) -> None:
        self._condition.enter(ConsumerState.CONNECTING)
        source = self._connect(self._give_up_partitions)
        try:
            await unless_stopped(self._stopping, self._consume(source), GRACE_SECONDS)
        except UnreadablePollError as exc:
            logger.exception("poll_unreadable")
            self._unreadable.observe(exc)
        except TransientError as exc:
            self._condition.enter(ConsumerState.CONNECTING)
            self._condition.note_trouble(str(exc))
            logger.warning("kafka_connection_lost", error=type(exc).__name__, reason=str(exc))
        finally:
            if not await unless_stopped(self._stopping, source.close(), GRACE_SECONDS):
                await source.abandon()
        await self._patience.sleep(self._backoff.next_delay(), self._stopping.is_set)

    async def _consume(self, source: RecordSourceProtocol) -> None:
        await unless_stopped(self._stopping, source.open())
        self._condition.enter(ConsumerState.JOINING)
        self._stall_check_due = time.monotonic() + STUCK_SECONDS
        while not self._stopping.is_set():
            await self._run_once(source)

    async def _run_once(self, source: RecordSourceProtocol) -> None:
        poll = await self._next_poll(source)
        self._condition.note_assignment(
            is_settled=not source.is_rebalancing, has_partitions=source.has_partitions
        )
        if not poll.records:
            await self._check_for_stall(source)
        async with self._in_hand:
            if poll.records and poll.assignment == source.assignment:
                await self._handle(source, poll)

    async def _next_poll(self, source: RecordSourceProtocol) -> Poll:
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                poll = await unless_stopped(self._stopping, source.poll())
        except TimeoutError as exc:
            raise BrokerUnavailableError("Kafka gives no partitions out.") from exc
        return poll or Poll((), source.assignment)

    async def _check_for_stall(self, source: RecordSourceProtocol) -> None:
        """Ask the broker, now and then, whether there really is nothing to read.

        Raises:
            BrokerUnavailableError: there is.
        """
        if time.monotonic() < self._stall_check_due:
            return
        self._stall_check_due = time.monotonic() + STUCK_SECONDS
        try:
            is_stuck = await source.is_stuck()
        except PartitionsLostError:
            return
        if is_stuck:
            raise BrokerUnavailableError("There is something to read, and nothing is read.")

    async def _handle(self, source: RecordSourceProtocol, poll: Poll) -> None:
        def is_abandoned() -> bool:
            is_stale = poll.assignment != source.assignment
            return self._stopping.is_set() or source.is_rebalancing or is_stale

        async def until_available(attempt: Callable[[], Awaitable[None]]) -> None:
            await self._patience.until_available(attempt, is_abandoned)

        try:
            await self._handler.handle(poll.records, until_available)
        except PollAbandonedError:
            logger.info("poll_abandoned", records=len(poll.records))
            return
        source.progress.finish()
        self._condition.note_progress()
        self._stall_check_due = time.monotonic() + STUCK_SECONDS
        self._backoff.reset()
        points = {(one.topic, one.partition): one.offset + 1 for one in poll.records}
        failpoint("bos.uncommitted")
        try:
            await source.commit(points)
        except PartitionsLostError:
            logger.info("commit_lost_to_rebalance")  # read again, and found to be done
        failpoint("bos.committed")

    async def _give_up_partitions(self, _source: RecordSourceProtocol) -> None:
        """Let the poll in hand end: it is finished, or abandoned where it waits."""
        self._patience.wake()
        async with self._in_hand:
            pass
