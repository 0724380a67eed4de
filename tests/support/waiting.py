"""Waiting for something to become true, with a bound."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

PERIOD_SECONDS = 0.02


async def eventually(
    holds: Callable[[], bool | Awaitable[bool]], *, timeout_seconds: float = 15, what: str = "it"
) -> None:
    """Wait until the condition holds.

    Raises:
        AssertionError: it did not in time.
    """
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    while not (await held if inspect.isawaitable(held := holds()) else held):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout_seconds} s")
        await asyncio.sleep(PERIOD_SECONDS)
