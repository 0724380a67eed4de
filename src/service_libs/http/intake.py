"""Between the server and the application: a body is read when it is asked for, and not before.

The framework would take every body into memory before anybody has decided whether it is wanted.
What the server itself holds of a body that nobody reads is bounded by its queue.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, suppress
from contextvars import ContextVar
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
from quart import Quart

ASGIApplication = Callable[[Scope, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]

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


class Intake:
    """The application, with an exchange around each request."""

    def __init__(self, app: ASGIApplication) -> None:
        self._app = app

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        _current.set(exchange)
        with exchange.at_end:
            await self._app(scope, exchange.receive, exchange.send)


def _ending_connection(message: HTTPResponseStartEvent) -> HTTPResponseStartEvent:
    others = [(name, value) for name, value in message["headers"] if name.lower() != b"connection"]
    return {**message, "headers": [*others, (b"connection", b"close")]}


def _content_length(scope: HTTPScope) -> int | None:
    """Return the length that the head announces, if it does."""
    lengths = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
    return int(lengths[0]) if lengths and lengths[0].isdigit() else None


class IntakeApp(Quart):
    """The framework's application, whose requests pass the intake first."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as in Quart
        super().__init__(*arguments, **options)
        # Our own limits hold for bodies and answers, and give problems instead of bare errors.
        self.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)

    async def asgi_app(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer a request, or start and stop."""
        await Intake(super().asgi_app)(scope, receive, send)
