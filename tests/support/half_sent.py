"""Callers that begin requests and never end them."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from tests.support.api import DEFINE

MEBIBYTE = 1024 * 1024
SEND_BYTES = 64 * 1024
SPARE_DESCRIPTORS = 200


def head(length: int, **headers: str) -> bytes:
    """Return the head of a question whose body is so long."""
    lines = {
        "Host": "bcs",
        "Content-Type": "application/json",
        "Content-Length": str(length),
        **headers,
    }
    fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {DEFINE} HTTP/1.1\r\n{fields}\r\n".encode()


class HalfSent:
    """Connections over which less was sent than was announced."""

    def __init__(self, address: str) -> None:
        url = httpx.URL(address)
        self._address = (url.host, url.port or 80)
        self._sockets: list[socket.socket] = []
        self.accepted_bytes = 0

    async def begin(self, count: int, data: bytes) -> None:
        """Open so many more connections and send the data, or what is taken of it, on each."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        needed = len(self._sockets) + count + SPARE_DESCRIPTORS
        if soft < needed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        await asyncio.gather(*(self._begin_one(data) for _ in range(count)))

    async def _begin_one(self, data: bytes) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        self._sockets.append(connection)
        with suppress(OSError):  # refused, or cut
            await asyncio.get_running_loop().sock_connect(connection, self._address)
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._send(connection, data)

    async def _send(self, connection: socket.socket, data: bytes) -> None:
        for start in range(0, len(data), SEND_BYTES):
            part = data[start : start + SEND_BYTES]
            await asyncio.get_running_loop().sock_sendall(connection, part)
            self.accepted_bytes += len(part)

    def answers(self) -> list[bytes]:
        """Return what was answered over each connection, as far as it is here."""
        found = []
        for connection in self._sockets:
            with suppress(OSError):
                found.append(connection.recv(4096))
        return [answer for answer in found if answer]

    def close(self) -> None:
        """Close all connections."""
        for connection in self._sockets:
            connection.close()


@asynccontextmanager
async def half_sent(address: str) -> AsyncIterator[HalfSent]:
    """Give callers of the service at that address; in the end they hang up."""
    callers = HalfSent(address)
    try:
        yield callers
    finally:
        callers.close()
