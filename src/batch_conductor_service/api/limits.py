"""What one request, and all of them together, may take of the service."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from quart import g, request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from batch_conductor_service.exceptions import DeadlineExceededError, OverloadedError

MAX_BODY_BYTES = 1024 * 1024
MAX_DISCARDED_BYTES = 16 * 1024 * 1024


class RequestGate:
    """Lets so many requests in at once, and refuses the rest."""

    def __init__(self, max_concurrent: int) -> None:
        self._max_concurrent = max_concurrent
        self.in_flight = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place while the work is done.

        Raises:
            OverloadedError: all places are taken.
        """
        if self.in_flight >= self._max_concurrent:
            raise OverloadedError
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1


def begin_deadline(timeout_seconds: float) -> None:
    """Start the time in which this request must be answered."""
    g.deadline = asyncio.get_running_loop().time() + timeout_seconds


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


async def read_json_body() -> bytes:
    """Return the body of the current request.

    Raises:
        UnsupportedMediaType: it is not said to be JSON.
        RequestEntityTooLarge: it is larger than allowed.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType
    body = bytearray()
    async for chunk in request.body:
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise RequestEntityTooLarge
    return bytes(body)


async def discard_body() -> bool:
    """Throw away what is not yet read of the body, within reason; return whether that was all.

    An answer before the end of the request makes the server cut the connection: under the caller's
    hands while it sends, or under its next request.
    """
    size = 0
    try:
        async with within_deadline():
            async for chunk in request.body:
                size += len(chunk)
                if size > MAX_DISCARDED_BYTES:
                    return False
    except DeadlineExceededError:
        return False
    return True
