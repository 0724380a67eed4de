"""Background tasks and probes that do what a test tells them."""

import asyncio
from collections.abc import Sequence


class ScriptedTask:
    """Runs until stopped; each run begins by raising the next error of the script, if any is left.

    With `ignores_stop` it is the task that hangs: only a cancellation ends it.
    """

    def __init__(
        self, name: str, errors: Sequence[Exception] = (), *, ignores_stop: bool = False
    ) -> None:
        self.name = name
        self.runs = 0
        self.journal: list[str] = []
        self.error_at_stop: Exception | None = None
        self._errors = list(errors)
        self._ignores_stop = ignores_stop
        self._stopping = asyncio.Event()
        self.is_running = asyncio.Event()

    async def run(self) -> None:
        """Raise the next error, or run until stopped."""
        self.runs += 1
        if self._errors:
            raise self._errors.pop(0)
        self.is_running.set()
        await self._stopping.wait()
        if self.error_at_stop:
            raise self.error_at_stop
        self.journal.append(self.name)

    def stop(self) -> None:
        """End the run, unless this is the task that hangs."""
        if not self._ignores_stop:
            self._stopping.set()


class SwitchableProbe:
    """Answers, raises or hangs, as its `error` and `hangs` say."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.error: Exception | None = None
        self.hangs = False

    async def ping(self) -> None:
        """Answer."""
        if self.hangs:
            await asyncio.Event().wait()
        if self.error:
            raise self.error
