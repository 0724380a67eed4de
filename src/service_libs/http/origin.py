"""A server that is asked by GET, again and again, over connections that are kept.

A client for all of the web, with its redirects, cookies and proxies, takes several times as long as
a question to a neighbour needs: aiohttp's took 0.05 ms of the gateway's 0.16 for a status. HTTP
itself is read by httptools, as uvicorn reads it.
"""

import asyncio
from asyncio import AbstractEventLoop, Future
from collections.abc import Mapping
from dataclasses import dataclass
from socket import SOCK_STREAM
from ssl import SSLContext
from typing import cast
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_HEAD_BYTES = 64 * 1024  # of an answer
NEXT_ADDRESS_SECONDS = 0.25  # of RFC 8305
KEPT_SECONDS = 15.0  # for which a connection that nobody uses is trusted
HTTP_OK = 200  # below it an answer only announces another

DEFAULT_PORTS = {"http": 80, "https": 443}


class HttpAnswerError(OSError):
    """There was no answer, or none that can be read."""


class ConnectionClosedError(HttpAnswerError):
    """The connection was closed before there was any of an answer."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer.

    Attributes:
        headers: by name in lower case; of several of one name the last.
    """

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


class HttpOrigin:
    """The server at an address, and the connections to it.

    Args:
        url: scheme, host and port, and what each path is below.
        headers: what each question says; neither names nor values are checked.
        ssl: whom an address with `https` is trusted by.
        max_connections: at once; whoever would need one more waits.
        max_body_bytes: of an answer.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        ssl: SSLContext,
        max_connections: int,
        max_body_bytes: int,
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._ssl = ssl if parts.scheme == "https" else None
        self._base = parts.path.rstrip("/")
        self._headers = _lines({"Host": parts.netloc, "Accept": "application/json", **headers})
        self._max_body_bytes = max_body_bytes
        self._slots = asyncio.Semaphore(max_connections)
        self._idle: list[_Connection] = []
        self._used: set[_Connection] = set()
        self._is_closed = False

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> HttpAnswer:
        """Return the answer, which must say how long it is. Its time is for the caller to bound.

        Args:
            path: as it is sent, quoted where it has to be.
            headers: what this question says beside.

        Raises:
            HttpAnswerError: there is none that can be read.
            OSError: there is no connection.
        """
        lines = f"GET {self._base}{path} HTTP/1.1\r\n{self._headers}{_lines(headers or {})}\r\n"
        head = lines.encode("latin-1")
        async with self._slots:
            while connection := self._take():
                try:
                    return await self._ask(connection, head)
                except ConnectionClosedError:
                    continue  # by the server, when it had been idle for long enough
            return await self._ask(await self._connect(), head)

    async def close(self) -> None:
        """Close all connections; whoever waits is told."""
        self._is_closed = True
        for connection in (*self._idle, *self._used):
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # for the loop closes them only now

    async def _connect(self) -> "_Connection":
        if self._is_closed:
            raise ConnectionClosedError("closed")
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(self._host, self._port, type=SOCK_STREAM)
        # Of several the next is tried when one is silent: uvloop itself would wait for it.
        socket = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS)
        _, connection = await loop.create_connection(
            lambda: _Connection(loop, self._max_body_bytes),
            sock=socket,
            ssl=self._ssl,
            server_hostname=self._host if self._ssl else None,
        )
        if self._is_closed:  # meanwhile
            connection.abort()
        return connection

    def _take(self) -> "_Connection | None":
        """Return the connection that was used last, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.abort()
        return None

    async def _ask(self, connection: "_Connection", head: bytes) -> HttpAnswer:
        self._used.add(connection)
        try:
            answer = await connection.ask(head)
        except BaseException:
            connection.abort()  # what is yet to come of the answer would be taken for another's
            raise
        finally:
            self._used.discard(connection)
        self._idle.append(connection)
        return answer


def _lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


class _Connection(asyncio.Protocol):
    """A connection, over which one question is asked at a time.

    Attributes:
        idle_since: when its last answer was complete, in the loop's seconds.
    """

    def __init__(self, loop: AbstractEventLoop, max_body_bytes: int) -> None:
        self._loop = loop
        self._max_body_bytes = max_body_bytes
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: Future[HttpAnswer] | None = None
        self._is_kept = True
        self._has_begun = False
        self._head_bytes = self._unread_bytes = 0
        self._is_in_head = True
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()
        self.idle_since = loop.time()

    @property
    def is_usable(self) -> bool:
        """Whether a question may be asked over it."""
        is_open = self._transport is not None and not self._transport.is_closing()
        return is_open and self._is_kept and self._loop.time() < self.idle_since + KEPT_SECONDS

    def ask(self, head: bytes) -> Future[HttpAnswer]:
        """Send a question, and return what will be its answer."""
        answer = self._answer = self._loop.create_future()
        self._has_begun = False
        if self._transport is None or self._transport.is_closing():
            self._fail(ConnectionClosedError("closed"))
        else:
            self._transport.write(head)
        return answer

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # in all that is used

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        error = HttpAnswerError if self._has_begun else ConnectionClosedError
        self._fail(error("closed"))

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.abort()  # nobody has asked
            return
        self._has_begun = True
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._fail(HttpAnswerError("not_http"))
        self._unread_bytes = self._unread_bytes + len(data) if self._is_in_head else 0
        if self._unread_bytes > MAX_HEAD_BYTES:  # which the parser keeps until a header is whole
            self._fail(HttpAnswerError("head_too_large"))

    def on_message_begin(self) -> None:
        self._head_bytes, self._is_in_head = 0, True
        self._headers = {}
        self._body = bytearray()
        self._is_kept = self._answer is not None  # else it is one answer more than questions

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._fail(HttpAnswerError("head_too_large"))
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._is_in_head = False

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > self._max_body_bytes:
            self._fail(HttpAnswerError("body_too_large"))

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < HTTP_OK or self._answer is None:
            return
        self._is_kept = self._parser.should_keep_alive()
        self.idle_since = self._loop.time()
        if not self._answer.done():
            self._answer.set_result(HttpAnswer(status, self._headers, bytes(self._body)))
        self._answer = None
        self._body = bytearray()

    def _fail(self, error: HttpAnswerError) -> None:
        self.abort()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._answer = None
