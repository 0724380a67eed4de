"""How a consumer waits: for a dependency that is down, and never longer than it is worth it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from service_libs.exceptions import TransientError
from service_libs.kafka.condition import ConditionRecorder, ConsumerState
from service_libs.timing import Backoff, until_set

logger = structlog.get_logger(__name__)

Result = TypeVar("Result")


class PollAbandonedError(Exception):
    """The poll in hand will be read again: by another member, or after the next start."""


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
