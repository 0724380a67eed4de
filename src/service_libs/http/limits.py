"""How many requests are worked on at once, and for how long."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from quart import g

from service_libs.exceptions import DeadlineExceededError, OverloadedError
from service_libs.http.intake import current_exchange
from service_libs.settings import CALLERS_MARGIN_SECONDS


class RequestGate:
    """Lets so many requests in at once, and refuses the rest."""

    def __init__(self, max_concurrent: int) -> None:
        self._max_concurrent = max_concurrent
        self.in_flight = 0

    def check(self) -> None:
        """Return if there is a place.

        Raises:
            OverloadedError: all places are taken.
        """
        if self.in_flight >= self._max_concurrent:
            raise OverloadedError

    def enter(self) -> None:
        """Take a place for the current request, until its answer is sent.

        Raises:
            OverloadedError: all places are taken.
        """
        self.check()
        self.in_flight += 1
        current_exchange().at_end.callback(self._leave)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Give the place up for as long as the current request only waits, and take it again.

        Those who wait are as many as there are connections, at most.
        """
        self.in_flight -= 1
        try:
            yield
        finally:
            self.in_flight += 1

    def _leave(self) -> None:
        self.in_flight -= 1


def begin_deadline(callers_patience_seconds: float) -> None:
    """Start the time in which this request must be answered."""
    seconds = callers_patience_seconds - CALLERS_MARGIN_SECONDS
    g.deadline = asyncio.get_running_loop().time() + seconds


def remaining_seconds() -> float:
    """Return how long it is until this request must be answered."""
    return float(max(0.0, g.deadline - asyncio.get_running_loop().time()))


@asynccontextmanager
async def within_deadline() -> AsyncIterator[None]:
    """Work on this request until its deadline.

    Raises:
        DeadlineExceededError: the time is up.
    """
    limit = asyncio.timeout_at(g.deadline)
    try:
        async with limit:
            yield
    except TimeoutError as exc:
        if not limit.expired():
            raise  # somebody else's time was up
        raise DeadlineExceededError from exc
