"""A connection of a caller: uvicorn's, with every wait for the caller bounded.

uvicorn bounds only how long a connection may be idle between two requests. A head that never comes
to its end, one without end, an answer that nobody reads, and callers without number are bounded
here.
"""

import asyncio
from contextlib import suppress
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service_libs.event_loop import ConnectedTransport

HEAD_SECONDS = 10  # for a request's head to arrive
WRITE_SECONDS = 10  # for a caller to take what is written
LINGER_SECONDS = 5  # for a caller to notice that it is not read any more
MAX_HEAD_BYTES = 32 * 1024
MAX_PIPELINED = 16  # requests that wait behind one that is being answered
MAX_DISCARDED_BYTES = 16 * 1024 * 1024  # of what a caller goes on sending after its answer

_BAD_REQUEST = (b"400 Bad Request", "invalid_request", "The request is not HTTP.")
_HEAD_TOO_LARGE = (
    b"431 Request Header Fields Too Large",
    "headers_too_large",
    "The head of the request is larger than 32 KiB.",
)


class HeadRefusedError(Exception):
    """The parser is to stop: what comes is not looked at."""


class Connections:
    """All connections, at most so many; one over which nothing comes makes way for a new one."""

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._open: set[GatewayConnection] = set()
        self._waiting: dict[GatewayConnection, None] = {}  # for their caller, the longest first

    def make(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> "GatewayConnection":
        """Return a connection, as uvicorn's configuration makes them."""
        return GatewayConnection(self, config, server_state, app_state, _loop)

    def enter(self, connection: "GatewayConnection") -> bool:
        """Count it in; return whether there is room."""
        if len(self._open) >= self._max_connections:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            self.leave(oldest)
            oldest.abort()
        self._open.add(connection)
        return True

    def leave(self, connection: "GatewayConnection") -> None:
        """Count it no more."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def set_waiting(self, connection: "GatewayConnection", *, is_waiting: bool) -> None:
        """Note whether it is the caller's turn."""
        self._waiting.pop(connection, None)
        if is_waiting and connection in self._open:
            self._waiting[connection] = None


class LingeringTransport(ConnectedTransport):
    """A transport that hears a caller out when it is closed while he still sends.

    Closed at once the system would reset the connection, and take from him the answer that he has
    not read yet.
    """

    def __init__(self, transport: asyncio.BaseTransport, connection: "GatewayConnection") -> None:
        super().__init__(transport)
        self._connection = connection
        self.is_lingering = False

    def is_closing(self) -> bool:
        return bool(self.is_lingering or self.wrapped.is_closing())

    def close(self) -> None:
        if self.is_closing():
            return
        if self._connection.is_receiving:
            self.is_lingering = True
            with suppress(OSError, RuntimeError):  # the caller has gone meanwhile
                self.wrapped.write_eof()
            self._connection.wait(LINGER_SECONDS)
        else:
            self.wrapped.close()


class GatewayConnection(HttpToolsProtocol):
    """One connection, from its first byte to its end.

    Attributes:
        is_receiving: whether a request has begun to arrive, and is not all there.
    """

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._all = connections
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._is_in_head = True
        self._discarded = 0
        self._lingering: LingeringTransport | None = None
        self._refusal = _BAD_REQUEST
        self.is_receiving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._lingering = LingeringTransport(transport, self)
        super().connection_made(cast("asyncio.Transport", self._lingering))  # in all that is used
        if not self._all.enter(self):
            self._lingering.abort()
            return
        self._all.set_waiting(self, is_waiting=True)
        self.wait(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.leave(self)
        for timer in (self._timer, self._writing):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._lingering and self._lingering.is_lingering:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED_BYTES:
                self.abort()
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes, self._is_in_head, self.is_receiving = 0, True, True
        if self.cycle is None or self.cycle.response_complete:
            self.wait(HEAD_SECONDS)

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + 4)  # with its colon, space and end
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise HeadRefusedError
        self._is_in_head = False
        self._all.set_waiting(self, is_waiting=False)
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.is_receiving = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and not self.pipeline:
            self._all.set_waiting(self, is_waiting=True)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or too much of it, with a problem, and close."""
        del msg
        if self.cycle is not None and not self.cycle.response_complete:
            self.abort()  # an answer is on its way, and this would stand in the middle of it
            return
        status, code, detail = self._refusal
        number, _, title = status.decode().partition(" ")
        body = (
            f'{{"type":"urn:gateway:problem:{code}","title":"{title}","status":{number},'
            f'"detail":"{detail}","code":"{code}","correlation_id":"","retryable":false}}'
        ).encode()
        head = b"HTTP/1.1 %b\r\ncontent-type: application/problem+json\r\n" % status
        self.transport.write(
            head + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body
        )
        self.is_receiving = True
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self.loop.call_later(WRITE_SECONDS, self.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing:
            self._writing.cancel()
            self._writing = None

    def wait(self, seconds: float) -> None:
        """Cut the connection unless what is waited for comes by then."""
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, self.abort)

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abort()

    def _stop_waiting(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._is_in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refusal = _HEAD_TOO_LARGE
            raise HeadRefusedError
