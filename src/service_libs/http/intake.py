"""Taking requests in: how many at once, and of their bodies how many, how large and how slow."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import (
    BadRequest,
    RequestEntityTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)

from common_core.fields import NO_IDENTIFIER
from common_core.problem import FieldError
from service_libs.exceptions import OverloadedError
from service_libs.http.exchange import SMALL_BODY_BYTES, Exchange, current_exchange

MAX_BODY_BYTES = 1024 * 1024
BODY_SECONDS = 10  # in which a body must have arrived


Body = TypeVar("Body", bytes, bytearray)


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
        current_exchange().at_end.append(self._leave)

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


class InvalidRequestError(BadRequest):
    """The request is not JSON, or fields are missing or out of their limits."""

    def __init__(self, faults: list[FieldError]) -> None:
        super().__init__()
        self.faults = faults


@contextmanager
def refusing_invalid_fields() -> Iterator[None]:
    """Make what pydantic says of a caller's data the caller's fault; elsewhere it is ours.

    Raises:
        InvalidRequestError: the data is invalid.
    """
    try:
        yield
    except ValidationError as exc:
        faults = exc.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidRequestError([_to_field_error(fault) for fault in faults]) from exc


def _to_field_error(fault: ErrorDetails) -> FieldError:
    """Return what is wrong, without a regular expression: only identifiers have one."""
    is_pattern = fault["type"] == "string_pattern_mismatch"
    field = ".".join(map(str, fault["loc"])) or "body"
    return FieldError(field=field, message=NO_IDENTIFIER if is_pattern else fault["msg"])


@dataclass(eq=False, slots=True)
class _Arrival:
    """A body on its way."""

    began_at: float  # on the loop's clock
    limit: asyncio.Timeout
    has_made_way: bool = False


class ArrivingBodies:
    """So many bodies may be on their way at once, and where one more comes the oldest makes way.

    So a body that does not arrive cannot keep others out: callers send theirs within milliseconds.
    One that has been on its way for less than the safe time makes way for nobody; the new one is
    refused instead.
    """

    def __init__(self, at_once: int, *, safe_seconds: float) -> None:
        self._at_once = at_once
        self._safe_seconds = safe_seconds
        self._arriving: dict[_Arrival, None] = {}  # the oldest first

    async def receive(self, chunks: AsyncIterator[bytes], deadline: float) -> bytes:
        """Return the body, received before the deadline on the loop's clock.

        Raises:
            RequestEntityTooLarge: it is larger than allowed.
            RequestTimeout: it did not arrive in time.
            OverloadedError: it had to make way, or there was no room for it.
        """
        arrival = _Arrival(asyncio.get_running_loop().time(), asyncio.timeout_at(deadline))
        try:
            async with arrival.limit:
                with self._keeping(arrival):
                    return await _collect(chunks)
        except TimeoutError as exc:
            if not arrival.limit.expired():
                raise  # somebody else's time was up
            raise (OverloadedError if arrival.has_made_way else RequestTimeout) from exc

    @contextmanager
    def _keeping(self, arrival: _Arrival) -> Iterator[None]:
        if len(self._arriving) >= self._at_once:
            self._make_way_for(arrival)
        self._arriving[arrival] = None
        try:
            yield
        finally:
            self._arriving.pop(arrival, None)

    def _make_way_for(self, arrival: _Arrival) -> None:
        oldest = next(iter(self._arriving))
        if arrival.began_at - oldest.began_at < self._safe_seconds:
            raise OverloadedError
        del self._arriving[oldest]
        oldest.has_made_way = True
        if not oldest.limit.expired():
            oldest.limit.reschedule(arrival.began_at)


class BodyReader:
    """Reads bodies, 32 MiB of them at once and no more; the service has 512 MiB in all.

    Large ones have room of their own, and little: nobody has a reason to send them. What has been
    read of one is lost with it, so one in a second makes way.
    """

    def __init__(self, gate: RequestGate) -> None:
        self.gate = gate
        self._small = ArrivingBodies(256, safe_seconds=0)
        self._large = ArrivingBodies(16, safe_seconds=1)

    async def take_in(self) -> bytes:
        """Return the body of the current request, and take a place for it.

        Only if there is one the body is read, and it is taken once the body has arrived.

        Raises:
            OverloadedError: too many requests are in flight.
            UnsupportedMediaType: it is not said to be JSON.
            RequestEntityTooLarge: it is larger than allowed.
            RequestTimeout: it did not arrive in time.
            OverloadedError: it took too long to keep others from sending theirs.
        """
        self.gate.check()
        body = await self._read_json(current_exchange())
        self.gate.enter()
        return body

    async def _read_json(self, exchange: Exchange) -> bytes:
        if exchange.media_type != "application/json":
            raise UnsupportedMediaType
        length = MAX_BODY_BYTES if exchange.length is None else exchange.length
        if length > MAX_BODY_BYTES:
            raise RequestEntityTooLarge
        body = exchange.body_at_hand()
        if body is not None:
            return _bounded(body)
        bodies = self._small if length <= SMALL_BODY_BYTES else self._large
        deadline = min(asyncio.get_running_loop().time() + BODY_SECONDS, exchange.deadline)
        return await bodies.receive(exchange.body(), deadline)


async def _collect(chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        _ = _bounded(body)
    return bytes(body)


def _bounded(body: Body) -> Body:
    if len(body) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    return body
