"""A connection of a caller: HTTP/1.1 alone, and each wait for the caller bounded.

Hypercorn parses and frames; how long a connection waits for what is decided here, for it bounds
hardly any of that.
"""

import asyncio
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum

import h11
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr

READ_BYTES = 16 * 1024  # at once, so that an unread body holds little memory
HEAD_SECONDS = 10  # for a request's head to arrive
IDLE_SECONDS = 75  # longer than callers keep idle connections, so that they close first
WRITE_SECONDS = 10  # for a caller to take what is written
SMALL_BYTES = 16 * 1024  # that may be left to the system to write
LINGER_SECONDS = 5  # for a caller to notice that it is not read any more
FOREVER = float("inf")
DISCARD_BYTES = 1024 * 1024
MAX_DISCARDED_BYTES = 16 * 1024 * 1024  # of what a caller goes on sending meanwhile

_VERSIONS = (b"1.0", b"1.1")
_UNREAD = (h11.SEND_BODY, h11.ERROR)


class Phase(IntEnum):
    """What a connection waits for; where there are too many, the lowest make way first."""

    CLOSING = 0  # the caller has its answer, and is to close
    HEAD = 1  # the caller is to send a request's head
    IDLE = 2  # the caller may ask again
    BUSY = 3  # we are to answer


class _Http11(H11Protocol):
    """HTTP/1.1 that never becomes anything else.

    Hypercorn's HTTP/2 loses requests: those that a connection's end overtakes, and all of a
    connection on which one too many is begun.
    """

    async def _check_protocol(self, event: h11.Request) -> None:
        """Change to no other protocol, whatever the request asks for."""

    async def _create_stream(self, request: h11.Request) -> None:
        if request.http_version not in _VERSIONS:
            await self._send_error_response(505)
            await self.send(Closed())
            return
        # As Hypercorn does it, but that it looks at all headers three times, and for web sockets.
        self.stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=[(raw.lower(), value) for raw, value in request.headers.raw_items()],
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1
        await self.context.mark_request()


class Connection:
    """One connection, from its first byte to its end.

    Args:
        app: what answers.
        config: how Hypercorn parses and frames.
        context: what the connections of a server share.
        accepted: the connection itself.
        streams: what reads from it and writes to it.
        on_move: hears of each change of phase, and which phase it was before.
    """

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        accepted: socket.socket,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        on_move: Callable[["Connection", Phase], None],
    ) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._socket = accepted  # to look at; once the streams have closed it, it has no descriptor
        self._reader, self._writer = streams
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._end = FOREVER  # of the phase, on the loop's clock
        self._moves = 0  # from phase to phase
        self._protocol: H11Protocol | None = None
        self.phase = Phase.HEAD
        self._on_move = on_move
        self._enter(Phase.HEAD, HEAD_SECONDS)

    async def run(self) -> None:
        """Answer request after request; return when the connection is closed."""
        try:
            client, server = (
                parse_socket_addr(self._socket.family, address)
                for address in (self._socket.getpeername(), self._socket.getsockname())
            )
            async with TaskGroup(self._loop) as group:
                self._protocol = _Http11(
                    self._app,
                    self._config,
                    self._context,
                    group,
                    ConnectionState({}),
                    False,  # noqa: FBT003 - no TLS; hypercorn takes it by position
                    client,
                    server,
                    self._send,
                )
                await self._read(self._protocol)
        except OSError:  # the caller has gone
            pass
        finally:
            self._enter(Phase.CLOSING, LINGER_SECONDS)
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
            if self._timer:
                self._timer.cancel()

    def close(self) -> None:
        """Close after what is written; a caller that still sends is heard out, not reset.

        A reset would take from it the answer that it has not read yet.
        """
        if self.phase is Phase.CLOSING:
            return
        self._enter(Phase.CLOSING, LINGER_SECONDS)
        if self._protocol and self._protocol.connection.their_state in _UNREAD:
            with suppress(OSError):
                self._writer.write_eof()
        else:
            self._writer.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._writer.transport.abort()

    def is_quiet(self, seconds: float) -> bool:
        """Whether no request is under way, none has begun to arrive, nor was one for so long."""
        if self.phase not in (Phase.IDLE, Phase.HEAD) or self._has_unread_bytes():
            return False
        return self._loop.time() - self.since >= seconds

    def _has_unread_bytes(self) -> bool:
        poll = select.poll()
        with suppress(OSError, ValueError):
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(0))
        return False

    def _enter(self, phase: Phase, seconds: float = FOREVER) -> None:
        """Wait for what the phase waits for, at most so long.

        A timer that is due earlier stays, and looks again then: one for each phase of each request
        takes longer than to parse it.
        """
        before, self.phase = self.phase, phase
        self._moves += 1
        self._on_move(self, before)
        self.since = self._loop.time()
        self._end = self.since + seconds
        if self._timer and self._end < self._timer.when():
            self._timer.cancel()
            self._timer = None
        if self._timer is None and seconds is not FOREVER:
            self._timer = self._loop.call_at(self._end, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        self._timer = None
        if self._end > self._loop.time():
            if self._end < FOREVER:
                self._timer = self._loop.call_at(self._end, self._look_at_the_clock)
        elif self.phase is Phase.CLOSING:
            self.abort()
        else:
            self.close()

    async def _read(self, protocol: H11Protocol) -> None:
        with suppress(OSError):  # the caller has cut the connection
            while data := await self._reader.read(READ_BYTES):
                if self.phase is Phase.CLOSING:
                    await self._discard()
                    break
                moved_at = self._moves
                await protocol.handle(RawData(data))
                if self.phase is Phase.IDLE and self._moves == moved_at:
                    self._enter(Phase.HEAD, HEAD_SECONDS)  # a head has begun, and is not complete
        await protocol.handle(Closed())

    async def _discard(self) -> None:
        size = 0
        while size < MAX_DISCARDED_BYTES:
            data = await self._reader.read(DISCARD_BYTES)
            size += len(data)
            if not data:
                break

    async def _send(self, event: Event) -> None:
        """Do what the protocol says."""
        match event:
            case RawData():
                await self._write(event.data)
            case Closed():
                self.close()
            case Updated() if event.idle:
                self._enter(Phase.IDLE, IDLE_SECONDS)
            case _:
                self._enter(Phase.BUSY)

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        transport = self._writer.transport
        if transport.get_write_buffer_size() <= SMALL_BYTES and not transport.is_closing():
            return  # nobody would be waited for, and a time-out takes as long as the writing
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._writer.drain()
        except (OSError, TimeoutError):
            self.abort()
