"""Work that takes long: in a thread with an event loop of its own, so that no answer waits."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from service_libs import event_loop

# How long a thread may run before another that waits has its turn. Python's own 5 ms would be lost
# each time the main loop has read from a socket, so many times an answer.
SWITCH_SECONDS = 0.0005

Result = TypeVar("Result")

_Place = tuple[asyncio.AbstractEventLoop, "asyncio.Task[Any]"]


async def run_apart(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run the work in a thread, and return what it returns.

    What it uses must be made in it: connections belong to their loop. Cancelled, it cancels the
    work, and waits for its end.
    """
    place: Future[_Place] = Future()
    running = asyncio.ensure_future(asyncio.to_thread(_run, work, place))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        loop, task = await asyncio.wrap_future(place)
        with suppress(RuntimeError):  # its loop is closed: it has just come to its end
            loop.call_soon_threadsafe(task.cancel)
        await asyncio.wait({running})
        raise


def _run(work: Callable[[], Coroutine[Any, Any, Result]], place: Future[_Place]) -> Result:
    async def show_place_and_work() -> Result:
        task = asyncio.ensure_future(work())
        place.set_result((asyncio.get_running_loop(), task))
        return await task

    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        return event_loop.run(show_place_and_work())
    finally:
        sys.setswitchinterval(usual)
