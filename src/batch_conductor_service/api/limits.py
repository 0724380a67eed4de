"""What one request, and all of them together, may take of the service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from quart import g, request
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout, UnsupportedMediaType

from batch_conductor_service.api.intake import current_exchange
from batch_conductor_service.config import CALLERS_MARGIN_SECONDS
from batch_conductor_service.exceptions import DeadlineExceededError, OverloadedError

MAX_BODY_BYTES = 1024 * 1024
MAX_HELD_BYTES = 32 * MAX_BODY_BYTES  # of all bodies; the composition gives the service 512 MiB
BODY_SECONDS = 10  # in which a body must have arrived
SAFE_SECONDS = 0.25  # a body that began so short a time ago makes way for no newcomer


@dataclass(eq=False, slots=True)
class Place:
    """A place among the requests in flight, and how much of the room for bodies it holds."""

    began_at: float  # on the loop's clock
    held_bytes: int = 0
    has_made_way: bool = False


class RequestGate:
    """Lets so many requests in at once, and refuses the rest before their bodies are read.

    A request whose body does not arrive cannot keep others out: when there is no place, or no room,
    the body that has been on its way longest makes way. Callers send theirs within milliseconds.
    """

    def __init__(self, max_concurrent: int, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self._max_concurrent = max_concurrent
        self._max_held_bytes = max_held_bytes
        self._places: set[Place] = set()
        self._arriving: dict[Place, asyncio.Timeout] = {}  # the oldest first
        self._held_bytes = 0

    @property
    def in_flight(self) -> int:
        """How many places are taken."""
        return len(self._places)

    def enter(self) -> Place:
        """Return a place, which is kept until the answer is sent.

        Raises:
            OverloadedError: all places are taken.
        """
        now = asyncio.get_running_loop().time()
        if self.in_flight >= self._max_concurrent:
            oldest = next(iter(self._arriving), None)
            if oldest is None or now - oldest.began_at < SAFE_SECONDS:
                raise OverloadedError
            self._make_way(oldest)
        place = Place(began_at=now)
        self._places.add(place)
        current_exchange().at_end.callback(self._leave, place)
        return place

    async def receive(
        self, place: Place, chunks: AsyncIterator[bytes], deadline: float
    ) -> bytes:
        """Return the body, received before the deadline on the loop's clock.

        Raises:
            RequestEntityTooLarge: it is larger than allowed.
            RequestTimeout: it did not arrive in time.
            OverloadedError: others need the place, or the room, more.
        """
        body = bytearray()
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit:
                self._arriving[place] = limit
                async for chunk in chunks:
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise RequestEntityTooLarge
                    self._hold(place, len(chunk))
        except TimeoutError as exc:
            if not limit.expired():
                raise  # somebody else's time was up
            raise (OverloadedError if place.has_made_way else RequestTimeout) from exc
        finally:
            self._arriving.pop(place, None)
        return bytes(body)

    def _hold(self, place: Place, size: int) -> None:
        place.held_bytes += size
        self._held_bytes += size
        while self._held_bytes > self._max_held_bytes and self._arriving:
            self._make_way(next(iter(self._arriving)))
        if place.has_made_way:
            raise OverloadedError

    def _make_way(self, place: Place) -> None:
        limit = self._arriving.pop(place)
        place.has_made_way = True
        self._leave(place)
        if not limit.expired():
            limit.reschedule(0)

    def _leave(self, place: Place) -> None:
        if place in self._places:
            self._places.remove(place)
            self._held_bytes -= place.held_bytes


def begin_deadline(callers_patience_seconds: float) -> None:
    """Start the time in which this request must be answered."""
    seconds = callers_patience_seconds - CALLERS_MARGIN_SECONDS
    g.deadline = asyncio.get_running_loop().time() + seconds


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


async def read_json_body(gate: RequestGate) -> bytes:
    """Return the body of the current request, which takes a place until its answer is sent.

    Raises:
        OverloadedError: there is no place, or the body took too long to keep it from others.
        UnsupportedMediaType: it is not said to be JSON.
        RequestEntityTooLarge: it is larger than allowed.
        RequestTimeout: it did not arrive in time.
    """
    place = gate.enter()
    if request.mimetype != "application/json":
        raise UnsupportedMediaType
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    deadline = min(place.began_at + BODY_SECONDS, g.deadline)
    return await gate.receive(place, current_exchange().body(), deadline)
