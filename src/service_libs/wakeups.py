"""How a background loop waits: for something to do, for a while, and for its stop."""

import asyncio

MAX_DRAINING_PAUSE_SECONDS = 0.5  # what is away may come back in the last moment


async def until_set(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for the event, at most that long."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


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
