"""Waiting for something to become true, with a bound."""

import asyncio
from collections.abc import Awaitable, Callable

PERIOD_SECONDS = 0.02


async def eventually(
    holds: Callable[[], Awaitable[bool]], *, timeout_seconds: float = 15, what: str = "it"
) -> None:
    """Wait until the condition holds.

    Raises:
        AssertionError: it did not in time.
    """
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    while not await holds():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout_seconds} s")
        await asyncio.sleep(PERIOD_SECONDS)
