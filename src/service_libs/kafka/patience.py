"""How a consumer waits: for a dependency that is down, and never longer than it is worth it.

What cannot be read is tried again, too, as long as that may help.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

import structlog

from common_core.records import Partition
from service_libs.exceptions import TransientError, UnreadableRecordError
from service_libs.kafka.condition import ConditionRecorder, ConsumerState
from service_libs.timing import Backoff, until_set

logger = structlog.get_logger(__name__)

MAX_FAILURES = 3  # of reading at one offset; a transfer does not go wrong thrice in a row

Result = TypeVar("Result")


class PollAbandonedError(Exception):
    """The poll in hand will be read again: by another member, or after the next start."""


class UnreadablePollError(TransientError):
    """What was fetched cannot be read."""

    def __init__(self, positions: Mapping[Partition, int], *, is_final: bool) -> None:
        self.positions = positions
        self.is_final = is_final
        super().__init__()


class UnreadableRecords:
    """Counts how often reading failed while a partition with unread records stood where it was.

    Which partition it was the library does not say, so all that did not move are named.
    """

    def __init__(self) -> None:
        self._failures: dict[tuple[Partition, int], int] = {}

    def observe(self, error: UnreadablePollError) -> None:
        """Take note of a poll that could not be read.

        Raises:
            UnreadableRecordError: reading it once more would not help.
        """
        places = error.positions.items()
        self._failures = {place: self._failures.get(place, 0) + 1 for place in places}
        blocked = [place for place, count in self._failures.items() if count >= MAX_FAILURES]
        if error.is_final or blocked:
            names = sorted(f"{p[0]}:{p[1]}:{offset}" for p, offset in blocked or places)
            raise UnreadableRecordError(
                f"A record at or after {' or '.join(names) or 'an unknown offset'} cannot be read:"
                " an unknown compression, or not what Kafka's protocol allows.",
                {"records": 1, "topics": ", ".join(_topics(blocked or places)), "place": names[0]}
                if names
                else None,
            )


class Patience:
    """Tries again until it works, or until the poll is abandoned.

    `wake` ends every wait at once; to be called when what it waits for is over.
    """

    def __init__(self, condition: ConditionRecorder, max_backoff_seconds: float) -> None:
        self._condition = condition
        self._max_backoff_seconds = max_backoff_seconds
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """End the wait there may be."""
        self._woken.set()

    async def until_available(
        self, attempt: Callable[[], Awaitable[Result]], is_abandoned: Callable[[], bool]
    ) -> Result:
        """Return what the first attempt returns that does not raise `TransientError`.

        Raises:
            PollAbandonedError: an attempt failed, and there will be no other.
        """
        backoff = Backoff(self._max_backoff_seconds)
        while True:
            try:
                result = await attempt()
            except TransientError as exc:
                self._condition.enter(ConsumerState.WAITING)
                self._condition.note_trouble(str(exc))
                logger.warning(
                    "consumer_waits_for_dependency", error=type(exc).__name__, reason=str(exc)
                )
                await self.sleep(backoff.next_delay(), is_abandoned)
                if is_abandoned():
                    raise PollAbandonedError from exc
            else:
                if self._condition.current.state is ConsumerState.WAITING:
                    self._condition.enter(ConsumerState.CONSUMING)
                return result

    async def sleep(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Wait that long, or until woken; not at all when there is nothing to wait for."""
        # A wake-up from before is no reason, and none from now on is missed: what it is about
        # is asked for after it was forgotten.
        self._woken.clear()
        if is_over():
            return
        await until_set(self._woken, seconds)


async def unless_stopped(
    stopping: asyncio.Event, work: Coroutine[Any, Any, Result], grace_seconds: float = 0
) -> Result | None:
    """Return what the work returns; or end it, so long after the stop, and return None."""
    task = asyncio.create_task(work)
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({task}, timeout=grace_seconds)
        return task.result() if task.done() else None
    finally:
        for each in (task, stop):
            each.cancel()
        await asyncio.gather(task, stop, return_exceptions=True)


def _topics(places: Iterable[tuple[Partition, int]]) -> list[str]:
    return sorted({topic for (topic, _), _ in places})
