"""Connections as the real server keeps them, over the loopback."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from service_libs.http.listener import Listener
from service_libs.http.process import hypercorn_config
from service_libs.http.server import serve_http
from tests.support.api import DEFINE, TestedApp

QUESTION = b'{"batch_id": "batch-1", "requested_pipeline": "nlp"}'
MAX_CONNECTIONS = 10
PAUSE_SECONDS = 0.05  # between the head of a request and its body


@dataclass
class Connection:
    """One connection to the service, over which requests go one after the other."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    port: int

    async def ask(
        self, method: str, content_type: str, body: bytes, *, length: int | None = None
    ) -> tuple[int, dict[str, str]]:
        """Return the status and the headers; the body comes a moment after the head."""
        head = (
            f"{method} {DEFINE} HTTP/1.1\r\nHost: bcs\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {length or len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode())
        await asyncio.sleep(PAUSE_SECONDS)
        self.writer.write(body)
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()[:-1]
        headers = dict(line.lower().split(": ", 1) for line in lines)
        await self.reader.readexactly(int(headers["content-length"]))
        return int(first.split()[1]), headers


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    """A connection to the served application, which gives a request half a second."""
    tested = TestedApp(http_timeout=5.5)
    listener = Listener("127.0.0.1", 0, settings="BCS_HTTP_HOST, BCS_HTTP_PORT")
    stop = asyncio.Event()
    serving = asyncio.create_task(
        serve_http(
            tested.app,
            hypercorn_config(tested.settings.shutdown_timeout_seconds),
            listener,
            max_connections=MAX_CONNECTIONS,
            let_go_seconds=0.2,
            until=stop.wait,
        )
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    yield Connection(reader, writer, listener.port)
    writer.close()
    stop.set()
    await serving
    listener.close()


@pytest.mark.parametrize(
    ("method", "content_type", "status"),
    [("POST", "text/plain", 415), ("PUT", "application/json", 405)],
)
async def test_a_request_refused_by_its_head_leaves_the_connection_to_the_next(
    connection: Connection, method: str, content_type: str, status: int
) -> None:
    for _ in range(3):
        refused, _ = await connection.ask(method, content_type, QUESTION)
        answered, _ = await connection.ask("POST", "application/json", QUESTION)

        assert (refused, answered) == (status, 200)


async def test_a_body_that_does_not_come_ends_the_connection_with_the_answer(
    connection: Connection,
) -> None:
    status, headers = await connection.ask("POST", "text/plain", QUESTION, length=1000)

    assert status == 415
    assert headers["connection"] == "close"
    assert await connection.reader.read() == b""


async def test_a_body_beyond_reason_ends_the_connection_with_the_answer(
    connection: Connection,
) -> None:
    status, headers = await connection.ask(
        "POST", "application/json", b" " * (18 * 1024 * 1024), length=10**9
    )

    assert status == 413
    assert headers["connection"] == "close"


async def test_beyond_their_number_those_that_wait_longest_for_their_callers_make_way(
    connection: Connection,
) -> None:
    """First those over which no request has come, then those that are idle."""
    assert (await connection.ask("POST", "application/json", QUESTION))[0] == 200
    silent = [
        await asyncio.open_connection("127.0.0.1", connection.port)
        for _ in range(2 * MAX_CONNECTIONS)
    ]
    newest = Connection(
        *await asyncio.open_connection("127.0.0.1", connection.port), connection.port
    )

    assert (await newest.ask("POST", "application/json", QUESTION))[0] == 200
    assert (await connection.ask("POST", "application/json", QUESTION))[0] == 200

    oldest_reader, _ = silent[0]
    assert await oldest_reader.read() == b""
    newest.writer.close()
    for _, writer in silent:
        writer.close()
