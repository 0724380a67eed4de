"""What time it is, and how long to wait: before the next try, for something to do, for the stop."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import TypeVar

FIRST_DELAY_SECONDS = 0.1
MAX_DRAINING_PAUSE_SECONDS = 0.5  # what is away may come back in the last moment
TURN_SECONDS = 0.002  # of work for which others in the process wait

Item = TypeVar("Item")


class SystemClock:
    """`ClockProtocol` on this machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def spread(seconds: float) -> float:
    """Return the delay shortened by up to half, by chance, so that those who wait do not meet."""
    return seconds * random.uniform(0.5, 1)  # noqa: S311 - chance that spreads, not a secret


class Backoff:
    """Delays that double up to a cap, each shortened by up to half so that replicas spread."""

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._next_seconds = FIRST_DELAY_SECONDS

    def next_delay(self) -> float:
        """Return the seconds to wait now."""
        delay = min(self._next_seconds, self._max_seconds)
        self._next_seconds = delay * 2
        return spread(delay)

    def reset(self) -> None:
        """Start again from the shortest delay."""
        self._next_seconds = FIRST_DELAY_SECONDS


async def until_set(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for the event, at most that long."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


async def in_turns(items: Iterable[Item]) -> AsyncIterator[Item]:
    """Yield the items; after each two milliseconds of work others in the process have a turn."""
    turn_ends = time.perf_counter() + TURN_SECONDS
    for item in items:
        yield item
        if time.perf_counter() >= turn_ends:
            await asyncio.sleep(0)
            turn_ends = time.perf_counter() + TURN_SECONDS


class Wakeups:
    """What a loop is woken by. After `stop` it still works on what is left, and hardly waits."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        """Whether the loop is to end when nothing is left."""
        return self._stopping.is_set()

    def wake(self) -> None:
        """Say that there is something to do."""
        self._woken.set()

    def stop(self) -> None:
        """Say that nothing more will come."""
        self._stopping.set()
        self._woken.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until woken from now on, at most that long."""
        self._woken.clear()
        await until_set(self._woken, seconds)

    def begin_look(self) -> None:
        """Say that a look for work begins: whatever is woken for from now on ends the next rest."""
        self._woken.clear()

    async def rest(self, seconds: float | None = None) -> None:
        """Wait until woken since the last look began, at most that long; not after the stop."""
        if not self.is_stopping:
            await until_set(self._woken, seconds)

    async def pause(self, seconds: float) -> None:
        """Wait that long, or until the stop; after the stop never long."""
        if self.is_stopping:
            await asyncio.sleep(min(seconds, MAX_DRAINING_PAUSE_SECONDS))
        else:
            await until_set(self._stopping, seconds)
