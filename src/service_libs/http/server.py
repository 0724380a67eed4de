"""Serving over HTTP: the application's start, the connections while it runs, and its end."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import structlog
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.typing import AppWrapper, ASGIFramework, LifespanState
from hypercorn.utils import wrap_app

from service_libs.http.connection import READ_BYTES, Connection, Phase
from service_libs.http.listener import Listener

logger = structlog.get_logger(__name__)

YOUNG_SECONDS = 0.1  # a connection makes way for no other before that
QUIET_SECONDS = 1  # idle for longer, a connection is hardly about to be used
LOOK_SECONDS = 0.02
ENDING_SECONDS = 1  # for accepting to end where the system does not report it at once


class Connections:
    """All connections that are open, at most so many; others wait to be accepted.

    They do not wait for long: a connection over which nothing comes makes way for a new one.
    """

    def __init__(self, app: AppWrapper, config: Config, max_connections: int) -> None:
        self._app = app
        self._config = config
        self._max_connections = max_connections
        self._context = WorkerContext(None)
        self._open: dict[Phase, dict[Connection, None]] = {phase: {} for phase in Phase}
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, listener: Listener) -> None:
        """Accept and serve connections until none is to be, one at a turn of the event loop.

        So those that are open go on also while very many come at once.
        """
        while not listener.is_refusing:
            if self._count >= self._max_connections and not self._make_way():
                await asyncio.sleep(LOOK_SECONDS)
                continue
            try:
                accepted = await listener.accept()
            except OSError as exc:
                if not listener.is_refusing:
                    logger.warning("connection_not_accepted", reason=exc.strerror)
                    await asyncio.sleep(LOOK_SECONDS)
                continue
            self._count += 1
            task = asyncio.create_task(self._serve(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(0)

    async def _serve(self, accepted: socket.socket) -> None:
        try:
            streams = await asyncio.open_connection(sock=accepted, limit=READ_BYTES)
        except OSError:
            accepted.close()
            self._count -= 1
            return
        connection = Connection(
            self._app, self._config, self._context, accepted, streams, self._move
        )
        self._open[connection.phase][connection] = None
        try:
            await connection.run()
        finally:
            self._drop(connection)

    async def let_go(self, seconds: float) -> None:
        """Close each connection once it is quiet; return when none is left, or the time is up.

        To close one just when its caller uses it again would lose a request.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline:
            if not self._close_quiet(QUIET_SECONDS):
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def finish(self, seconds: float) -> None:
        """Close what is quiet by now, wait so long for what is being answered, and cut the rest."""
        await self._context.terminated.set()
        self._close_quiet(0)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _close_quiet(self, seconds: float) -> bool:
        """Close what has been quiet for so long; return whether any connection is left open."""
        for phase in (Phase.HEAD, Phase.IDLE):
            for connection in list(self._open[phase]):
                if connection.is_quiet(seconds):
                    connection.close()
        return any(self._open[phase] for phase in Phase if phase is not Phase.CLOSING)

    def _make_way(self) -> bool:
        """Cut the connection that has waited longest for its caller; return whether one did.

        Idle ones do only where no other waits: their callers may be about to ask again.
        """
        waiting = [self._open[p] for p in (Phase.CLOSING, Phase.HEAD, Phase.IDLE) if self._open[p]]
        for connection in waiting[0] if waiting else ():
            if connection.phase is Phase.CLOSING or connection.is_quiet(YOUNG_SECONDS):
                self._drop(connection)
                connection.abort()
                return True
        return False

    def _move(self, connection: Connection, before: Phase) -> None:
        if connection in self._open[before]:
            del self._open[before][connection]
            self._open[connection.phase][connection] = None

    def _drop(self, connection: Connection) -> None:
        """Count the connection no more, though it may not have ended yet."""
        if connection in self._open[connection.phase]:
            del self._open[connection.phase][connection]
            self._count -= 1


async def serve_http(
    app: ASGIFramework,
    config: Config,
    listener: Listener,
    *,
    max_connections: int,
    let_go_seconds: float,
    until: Callable[[], Awaitable[object]],
) -> None:
    """Serve until the given wait is over.

    Then no connection is accepted, idle ones are parted from, what is being answered has the
    config's graceful time, and the application stops.

    Raises:
        LifespanFailureError: the application could not start, or did not stop cleanly.
    """
    loop = asyncio.get_running_loop()
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
    lifespan = Lifespan(wrapped, config, loop, LifespanState({}))
    running = loop.create_task(lifespan.handle_lifespan())
    await lifespan.wait_for_startup()
    if running.done():
        running.result()
    connections = Connections(wrapped, config, max_connections)
    accepting = loop.create_task(connections.accept(listener))
    try:
        await until()
    finally:
        await listener.refuse()
        await asyncio.wait({accepting}, timeout=ENDING_SECONDS)  # cancelled, it could lose one
        accepting.cancel()
        await connections.let_go(let_go_seconds)
        await connections.finish(config.graceful_timeout)
        await lifespan.wait_for_shutdown()
        running.cancel()
        await running
