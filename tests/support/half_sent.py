"""Callers that begin requests and never end them.

They are a process of their own: in that of a caller whose answers are timed they would be what
makes it slow.
"""

import asyncio
import resource
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

DEFINE = "/internal/v1/pipelines/define"
ROOT = Path(__file__).parents[2]
SEND_BYTES = 64 * 1024
SPARE_DESCRIPTORS = 200
SENDING_SECONDS = 1  # on one connection, of which nothing may be taken any more
AT_ONCE = 100
PAUSE_SECONDS = 0.2  # between so many


def head(length: int, **headers: str) -> str:
    """Return the head of a question whose body is so long."""
    lines = {
        "Host": "bcs",
        "Content-Type": "application/json",
        "Content-Length": str(length),
        **headers,
    }
    fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {DEFINE} HTTP/1.1\r\n{fields}\r\n"


@asynccontextmanager
async def half_sent(address: str, count: int, begun: str, padding: int) -> AsyncIterator[None]:
    """Run so many callers that send what is begun and some spaces, and stay until the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.half_sent"),
        *(address, str(count), begun, str(padding)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        assert await process.stdout.readline() == b"sending\n"
        yield
    finally:
        process.kill()
        await process.communicate()


async def _hold(address: tuple[str, int], data: bytes) -> socket.socket:
    """Return a connection over which was sent what is taken of the data."""
    connection = socket.socket()
    connection.settimeout(0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
    loop = asyncio.get_running_loop()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(SENDING_SECONDS):
            await loop.sock_connect(connection, address)
            await loop.sock_sendall(connection, data)
    return connection


async def _main(address: str, count: str, begun: str, padding: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(count) + SPARE_DESCRIPTORS, hard))
    url = httpx.URL(address)
    data = begun.encode() + b" " * int(padding)
    sys.stdout.write("sending\n")
    sys.stdout.flush()
    holding = []  # until the process ends
    for _ in range(0, int(count), AT_ONCE):
        holding += [
            asyncio.create_task(_hold((url.host, url.port or 80), data)) for _ in range(AT_ONCE)
        ]
        await asyncio.sleep(PAUSE_SECONDS)
    await asyncio.gather(*holding)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
