"""Between the server and the application: a body is read when it is asked for, and not before.

The framework would take every body into memory before anybody has decided whether it is wanted.
What the server itself holds of a body that nobody reads is bounded by its queue, and what is read
of all bodies by the number of those that arrive at once.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPDisconnectEvent,
    HTTPResponseStartEvent,
    HTTPScope,
    Scope,
)
from quart import Quart, g, request
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout, UnsupportedMediaType

from service_libs.exceptions import OverloadedError

MAX_BODY_BYTES = 1024 * 1024
BODY_SECONDS = 10  # in which a body must have arrived
SMALL_BODY_BYTES = 64 * 1024  # a question has a few hundred
PATIENCE_SECONDS = 0.5
OVERLOADED = 503  # status

_DISCONNECT = HTTPDisconnectEvent(type="http.disconnect")


class Exchange:
    """One request and its answer.

    An answer given before all of the body has arrived ends the connection: what comes after it on
    the connection is the rest of that body, and no request. `at_end` has what is to be undone once
    the answer is sent.
    """

    def __init__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        self._length = _content_length(scope)
        self._receive = receive
        self._send = send
        self._has_arrived = False
        self._has_hung_up = False
        self._is_read = asyncio.Event()  # nobody reads the body, now or later
        self.at_end = ExitStack()

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. A caller who hangs up has the reader cancelled."""
        while not self._has_arrived:
            message = await self._receive()
            if message["type"] != "http.request":
                self._has_hung_up = True
                self._is_read.set()
                await asyncio.Event().wait()
                return
            if not message["more_body"]:
                self._has_arrived = True
                self._is_read.set()
            if message["body"]:
                yield message["body"]

    async def receive(self) -> ASGIReceiveEvent:
        """Return when the caller has hung up: the framework hears nothing else."""
        await self._is_read.wait()
        while not self._has_hung_up:
            message = await self._receive()
            self._has_hung_up = message["type"] != "http.request"
        return _DISCONNECT

    async def send(self, message: ASGISendEvent) -> None:
        """Send on what the framework answers."""
        if message["type"] == "http.response.start":
            await self._discard(self._patience_seconds(message["status"]))
            if not self._has_arrived:
                message = _ending_connection(message)
        elif message["type"] == "http.response.body" and not message["more_body"]:
            self._is_read.set()  # or the server could wait for ever until a body is taken from it
        await self._send(message)

    def _patience_seconds(self, status: int) -> float:
        """Return how long a refusal waits for a body that nobody wants.

        A small one that follows its head at once is waited for: its caller's next request then
        finds the connection. Whoever is refused for want of room hears so at once.
        """
        is_small = self._length is not None and self._length <= SMALL_BODY_BYTES
        return PATIENCE_SECONDS if is_small and status != OVERLOADED else 0

    async def _discard(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for _ in self.body():
                    continue


_current: ContextVar[Exchange] = ContextVar("exchange")


def current_exchange() -> Exchange:
    """Return the exchange that this task works on."""
    return _current.get()


class IntakeApp(Quart):
    """The framework's application, with an exchange around each request."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Our own limits hold for bodies and answers, and give problems instead of bare errors.
        self.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)

    async def asgi_app(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer a request, or start and stop."""
        if scope["type"] != "http":
            await super().asgi_app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        _current.set(exchange)
        with exchange.at_end:
            await super().asgi_app(scope, exchange.receive, exchange.send)


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

    def __init__(self) -> None:
        self._small = ArrivingBodies(256, safe_seconds=0)
        self._large = ArrivingBodies(16, safe_seconds=1)

    async def read_json(self) -> bytes:
        """Return the body of the current request.

        Raises:
            UnsupportedMediaType: it is not said to be JSON.
            RequestEntityTooLarge: it is larger than allowed.
            RequestTimeout: it did not arrive in time.
            OverloadedError: it took too long to keep others from sending theirs.
        """
        if request.mimetype != "application/json":
            raise UnsupportedMediaType
        length = MAX_BODY_BYTES if request.content_length is None else request.content_length
        if length > MAX_BODY_BYTES:
            raise RequestEntityTooLarge
        bodies = self._small if length <= SMALL_BODY_BYTES else self._large
        deadline = min(asyncio.get_running_loop().time() + BODY_SECONDS, g.deadline)
        return await bodies.receive(current_exchange().body(), deadline)


def _ending_connection(message: HTTPResponseStartEvent) -> HTTPResponseStartEvent:
    others = [(name, value) for name, value in message["headers"] if name.lower() != b"connection"]
    return {**message, "headers": [*others, (b"connection", b"close")]}


def _content_length(scope: HTTPScope) -> int | None:
    """Return the length that the head announces, if it does."""
    lengths = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
    return int(lengths[0]) if lengths and lengths[0].isdigit() else None


async def _collect(chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise RequestEntityTooLarge
    return bytes(body)
