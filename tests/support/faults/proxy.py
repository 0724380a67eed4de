"""A TCP proxy that harms what goes through it: slow, silent, reset, or with replies lost.

It runs in a thread of its own, so that a test that waits for a server does not slow it down.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable

from local_stack.ports import LOCALHOST, find_free_port

CHUNK = 65536
LOOK_SECONDS = 0.02

IsMarked = Callable[[bytes], bool]


def redis_exec(chunk: bytes) -> bool:
    """Whether a transaction of Redis ends here that queues something for Postgres."""
    return b"EXEC\r\n" in chunk and b"XADD" in chunk


def postgres_commit(chunk: bytes) -> bool:
    """Whether a transaction of Postgres ends here."""
    return b"COMMIT;" in chunk


def kafka_offset_commit(chunk: bytes) -> bool:
    """Whether a request of Kafka's begins here that commits offsets (API key 8)."""
    return chunk[4:6] == b"\x00\x08"


def kafka_produce(chunk: bytes) -> bool:
    """Whether a request of Kafka's begins here that produces (API key 0)."""
    return chunk[4:6] == b"\x00\x00" and len(chunk) > 100


class _Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.loses_next_reply = False
        self._writers = (client, server)

    def abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


class FaultyProxy:
    """Forwards bytes to a port of this machine; what it does to them is set from any thread.

    Attributes:
        delay_seconds: added to each chunk, each way.
        is_silent: accept everything, forward nothing: a half-open connection.
        is_refusing: reset whoever connects.
        loses_every: the reply to every so-manieth marked request is lost, with its connection;
            0 for none.
        fired: how many connections were reset and replies lost.
    """

    def __init__(self, target_port: int) -> None:
        self.port = find_free_port()
        self._own_port = self._target_port = target_port
        self._links: set[_Link] = set()
        self._is_marked: IsMarked = lambda _: False
        self._marked = 0
        self.fired = 0
        self.delay_seconds = 0.0
        self.is_silent = False
        self.is_refusing = False
        self.loses_every = 0

    def lose_replies(self, is_marked: IsMarked, every: int) -> None:
        """Lose the reply to every so-manieth request of that kind."""
        self._is_marked, self.loses_every = is_marked, every

    def forward_to(self, port: int) -> None:
        """Forward new connections to another server, as after a failover."""
        self._target_port = port

    def heal(self) -> None:
        """Forward everything as it is, to whom it was meant for."""
        self._target_port = self._own_port
        self.delay_seconds, self.loses_every = 0.0, 0
        self.is_silent = self.is_refusing = False

    def abort_all(self) -> None:
        """Reset every connection; in the proxy's own thread."""
        for link in tuple(self._links):
            self.fired += 1
            link.abort()

    async def serve(self) -> None:
        """Accept until cancelled."""
        server = await asyncio.start_server(self._accept, LOCALHOST, self.port)
        async with server:
            await server.serve_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            self.fired += 1
            writer.transport.abort()
            return
        try:
            upstream, downstream = await asyncio.open_connection(LOCALHOST, self._target_port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, downstream)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pump(reader, downstream, link, is_request=True),
                self._pump(upstream, writer, link, is_request=False),
            )
        finally:
            self._links.discard(link)
            link.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        link: _Link,
        *,
        is_request: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                await self._hold_back()
                if is_request:
                    self._mark(chunk, link)
                elif link.loses_next_reply:
                    self.fired += 1
                    break
                writer.write(chunk)
                await writer.drain()
        link.abort()

    async def _hold_back(self) -> None:
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        while self.is_silent:  # noqa: ASYNC110 - set from another thread
            await asyncio.sleep(LOOK_SECONDS)

    def _mark(self, chunk: bytes, link: _Link) -> None:
        if self.loses_every and self._is_marked(chunk):
            self._marked += 1
            link.loses_next_reply |= self._marked % self.loses_every == 0


class ProxyThread:
    """The thread that proxies run in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: list[asyncio.Task[None]] = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def add(self, proxy: FaultyProxy) -> None:
        """Serve the proxy from now on."""

        async def start() -> None:
            self._tasks.append(asyncio.create_task(proxy.serve()))
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(start(), self._loop).result()

    def reset(self, proxy: FaultyProxy) -> None:
        """Reset every connection of the proxy."""

        async def abort() -> None:
            proxy.abort_all()

        asyncio.run_coroutine_threadsafe(abort(), self._loop).result()

    def close(self) -> None:
        """End all proxies and the thread."""

        async def cancel() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cancel(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
