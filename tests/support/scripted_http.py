"""An HTTP server that misbehaves as a test tells it: late, silent, cut off, or talking nonsense."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class ScriptedServer:
    """Gives one answer after the other, the last one again and again; keeps what was asked."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers = list(answers)
        self.requests: list[bytes] = []
        self.is_asked = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (
                int(x.split(b":")[1])
                for x in head.splitlines()
                if x.lower().startswith(b"content-l")
            ),
            0,
        )
        self.requests.append(head + await reader.readexactly(length))
        self.is_asked.set()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        try:
            await answer(writer)
        except ConnectionError:
            pass  # the caller has gone
        finally:
            writer.close()


@asynccontextmanager
async def scripted(*answers: Answer) -> AsyncIterator[ScriptedServer]:
    """Give a server on a port of its own."""
    script = ScriptedServer(answers)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield script
    finally:
        server.close()


def says(status: int, body: bytes, **headers: str) -> Answer:
    """Return a whole answer."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
        head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return answer


async def silence(writer: asyncio.StreamWriter) -> None:
    """Say nothing, and keep the connection."""
    while not writer.is_closing():
        await asyncio.sleep(0.05)
        writer.write(b"")


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close without a word."""
    del writer


async def drip(writer: asyncio.StreamWriter) -> None:
    """Send a byte now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def break_off(writer: asyncio.StreamWriter) -> None:
    """Close in the middle of the body."""
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"batch_id": ')
    await writer.drain()
