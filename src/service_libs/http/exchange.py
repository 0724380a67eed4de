"""Between the server and the application: one request and its answer.

A body is read when it is asked for, and not before: the framework would take every body into memory
before anybody has decided whether it is wanted. What the server itself holds of a body that nobody
reads is bounded by its queue.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import structlog
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPDisconnectEvent,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    HTTPScope,
)
from werkzeug.exceptions import ClientDisconnected

from service_libs.exceptions import DeadlineExceededError

SMALL_BODY_BYTES = 64 * 1024  # a question has a few hundred
PATIENCE_SECONDS = 0.5
OVERLOADED = 503  # status

_DISCONNECT = HTTPDisconnectEvent(type="http.disconnect")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, before the framework or without it."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Iterable[tuple[str, str]] = ()


_current: ContextVar["Exchange"] = ContextVar("exchange")


class Exchange:
    """One request and its answer; the current one of the task that makes it.

    An answer given before all of the body has arrived ends the connection: what comes after it on
    the connection is the rest of that body, and no request.

    Attributes:
        scope: what the server says of the request.
        headers: by their names in lower case; of several alike the first.
        length: of the body, as the head announces it; None where it does not.
        started: when it began, as `perf_counter` has it.
        deadline: when it must be answered, on the loop's clock.
        correlation_id: names it in logs and elsewhere.
        is_refused_for_load: whether it is one of perhaps thousands.
        at_end: what is to be undone once the answer is sent.
    """

    def __init__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        self.scope = scope
        self.headers = dict(reversed(list(scope["headers"])))
        length = self.headers.get(b"content-length", b"")
        self.length = int(length) if length.isdigit() else None
        self.started = perf_counter()
        self.deadline = float("inf")
        self.correlation_id = ""
        self.is_refused_for_load = False
        self.at_end: list[Callable[[], None]] = []
        self._receive = receive
        self._send = send
        self._chunks: deque[bytes] = deque()  # that have arrived, and that nobody has taken
        self._has_arrived = False
        self._has_hung_up = False
        self._is_read = asyncio.Event()  # nobody reads the body, now or later
        _current.set(self)

    def header(self, name: str) -> str:
        """Return what the header says; empty where there is none."""
        return self.headers.get(name.encode(), b"").decode("latin-1")

    @property
    def caller(self) -> str:
        """The caller's address."""
        return self.scope["client"][0] if self.scope["client"] else "<local>"

    @property
    def media_type(self) -> str:
        """The kind of the body, without its parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def is_framed_twice(self) -> bool:
        """Whether another reader may see another end of the body."""
        return b"content-length" in self.headers and b"transfer-encoding" in self.headers

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            ClientDisconnected: the caller has hung up.
        """
        while self._chunks:
            yield self._chunks.popleft()
        while not self._has_arrived:
            self._take(await self._receive())
            while self._chunks:
                yield self._chunks.popleft()

    def body_at_hand(self) -> bytes | None:
        """Return the body if all of it has arrived, as most have with their head.

        Raises:
            ClientDisconnected: the caller has hung up.
        """
        while not self._has_arrived:
            message = self._look()
            if message is None:
                return None
            self._take(message)
        body = b"".join(self._chunks)
        self._chunks.clear()
        return body

    def _take(self, message: ASGIReceiveEvent) -> None:
        if message["type"] != "http.request":
            self._has_hung_up = True
            self._is_read.set()
            raise ClientDisconnected
        if not message["more_body"]:
            self._has_arrived = True
            self._is_read.set()
        if message["body"]:
            self._chunks.append(message["body"])

    def _look(self) -> ASGIReceiveEvent | None:
        """Return what the server has to say by now, if it has anything.

        It is asked for one step only, without a task or a time-out: those would cost every request
        more than this does.
        """
        asking = self._receive().__await__()
        try:
            next(asking)
        except StopIteration as said:
            message: ASGIReceiveEvent = said.value
            return message
        asking.close()
        return None

    async def receive(self) -> ASGIReceiveEvent:
        """Return when the caller has hung up: the framework hears nothing else."""
        await self._is_read.wait()
        while not self._has_hung_up:
            message = await self._receive()
            self._has_hung_up = message["type"] != "http.request"
        return _DISCONNECT

    def check_caller(self) -> None:
        """Return if the caller is not known to have hung up; the body has arrived by now.

        Raises:
            ClientDisconnected: the caller has hung up.
        """
        if message := self._look():
            self._take(message)

    async def unless_hung_up(self, waiting: Coroutine[Any, Any, None]) -> None:
        """Wait for that as long as the caller does.

        Raises:
            ClientDisconnected: the caller has hung up.
        """
        tasks = [asyncio.ensure_future(one) for one in (waiting, self.receive())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not tasks[0].done():
                raise ClientDisconnected
            await tasks[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def send(self, message: ASGISendEvent) -> None:
        """Send on what the framework answers."""
        if message["type"] == "http.response.start":
            await self._discard(self._patience_seconds(message["status"]))
            if not self._has_arrived:
                message = _ending_connection(message)
        elif message["type"] == "http.response.body" and not message["more_body"]:
            self._is_read.set()  # or the server could wait for ever until a body is taken from it
        await self._send(message)

    def end(self) -> None:
        """Undo what is to be undone."""
        while self.at_end:
            self.at_end.pop()()

    async def answer(self, reply: Reply, headers: Iterable[tuple[str, str]]) -> None:
        """Send the answer as the framework would.

        What still comes of the body is taken meanwhile: the server's queue is short, and where it
        is full the server takes no answer.
        """
        taking = None if self._has_arrived else asyncio.ensure_future(self.receive())
        try:
            await self._send_reply(reply, headers)
        finally:
            if taking:
                taking.cancel()

    async def _send_reply(self, reply: Reply, further: Iterable[tuple[str, str]]) -> None:
        headers = [
            ("content-type", reply.content_type),
            ("content-length", str(len(reply.body))),
            *reply.headers,
            *further,
        ]
        start = HTTPResponseStartEvent(
            type="http.response.start",
            status=reply.status,
            headers=[(name.lower().encode(), value.encode()) for name, value in headers],
        )
        await self.send(start)
        await self.send(
            HTTPResponseBodyEvent(type="http.response.body", body=reply.body, more_body=False)
        )

    def _patience_seconds(self, status: int) -> float:
        """Return how long a refusal waits for a body that nobody wants.

        A small one that follows its head at once is waited for: its caller's next request then
        finds the connection. Whoever is refused for want of room hears so at once.
        """
        is_small = self.length is not None and self.length <= SMALL_BODY_BYTES
        return PATIENCE_SECONDS if is_small and status != OVERLOADED else 0

    async def _discard(self, seconds: float) -> None:
        if self._has_arrived:
            return
        with suppress(TimeoutError, ClientDisconnected):
            async with asyncio.timeout(seconds):
                async for _ in self.body():
                    continue


def current_exchange() -> Exchange:
    """Return the exchange that this task works on."""
    return _current.get()


def adopt_correlation(correlation_id: str) -> None:
    """Use this id from here on: the body's goes before the header's."""
    current_exchange().correlation_id = correlation_id
    structlog.contextvars.bind_contextvars(correlation_id=correlation_id)


def correlation_id() -> str:
    """Return the id of the current request, as it is."""
    return current_exchange().correlation_id


def remaining_seconds() -> float:
    """Return how long it is until this request must be answered."""
    return max(0.0, current_exchange().deadline - asyncio.get_running_loop().time())


@asynccontextmanager
async def within_deadline() -> AsyncIterator[None]:
    """Work on this request until its deadline.

    Raises:
        DeadlineExceededError: the time is up.
    """
    limit = asyncio.timeout_at(current_exchange().deadline)
    try:
        async with limit:
            yield
    except TimeoutError as exc:
        if not limit.expired():
            raise  # somebody else's time was up
        raise DeadlineExceededError from exc


def _ending_connection(message: HTTPResponseStartEvent) -> HTTPResponseStartEvent:
    others = [(name, value) for name, value in message["headers"] if name.lower() != b"connection"]
    return {**message, "headers": [*others, (b"connection", b"close")]}
