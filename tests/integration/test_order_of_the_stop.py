"""The application stops after the last request, whether that was answered or cut off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypercorn.config import Config
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from service_libs.http.listener import Listener
from service_libs.http.server import serve_http

QUESTION = b"GET / HTTP/1.1\r\nHost: bcs\r\n\r\n"
GRACEFUL_SECONDS = 0.5


class Journal:
    """An application that notes what happens to it, and answers when it may."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.has_been_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.stop = asyncio.Event()

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.has_been_asked.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.lines.append("cut off")
            raise
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
        )
        await send({"type": "http.response.body", "body": b"ok", "more_body": False})
        self.lines.append("answered")

    async def _live(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        while True:
            match (await receive())["type"]:
                case "lifespan.startup":
                    self.lines.append("started")
                    await send({"type": "lifespan.startup.complete"})
                case "lifespan.shutdown":
                    self.lines.append("stopped")
                    await send({"type": "lifespan.shutdown.complete"})
                    return


@asynccontextmanager
async def asked(
    journal: Journal,
) -> AsyncIterator[tuple[asyncio.StreamReader, "asyncio.Task[None]"]]:
    """Serve, with one question that waits for its answer."""
    config = Config()
    config.graceful_timeout = GRACEFUL_SECONDS
    listener = Listener("127.0.0.1", 0, settings="BCS_HTTP_HOST, BCS_HTTP_PORT")
    serving = asyncio.create_task(
        serve_http(
            journal,
            config,
            listener,
            max_connections=10,
            let_go_seconds=0.1,
            until=journal.stop.wait,
        )
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(QUESTION)
    await journal.has_been_asked.wait()
    try:
        yield reader, serving
    finally:
        writer.close()
        listener.close()


async def test_what_is_being_answered_is_answered_before_the_application_stops() -> None:
    journal = Journal()
    async with asked(journal) as (reader, serving):
        journal.stop.set()
        await asyncio.sleep(GRACEFUL_SECONDS / 5)
        journal.may_answer.set()

        answer = await reader.read()
        await serving

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"ok")
    assert journal.lines == ["started", "answered", "stopped"]


async def test_what_is_not_answered_in_time_is_cut_off_before_the_application_stops() -> None:
    journal = Journal()
    async with asked(journal) as (reader, serving):
        journal.stop.set()

        await asyncio.wait_for(serving, 10 * GRACEFUL_SECONDS)
        answer = await reader.read()

    assert not answer.startswith(b"HTTP/1.1 200")
    assert journal.lines == ["started", "cut off", "stopped"]
