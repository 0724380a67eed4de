"""Callers that do not send what they begin, or never stop, keep nobody else out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from api_gateway_service.main import create_app
from api_gateway_service.middleware import body_limit_middleware
from api_gateway_service.server import connections
from api_gateway_service.startup_setup import build_container
from tests.support.gateway.app import pipelines_path, settings_of
from tests.support.gateway.server import served
from tests.support.gateway.tokens import token_of

POST = f"POST {pipelines_path('b')} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {{}}\r\n"
JSON = "Content-Type: application/json\r\n"
MEBIBYTE = 1024 * 1024


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A gateway whose patience is short."""
    for name in ("HEAD_SECONDS", "WRITE_SECONDS", "LINGER_SECONDS"):
        monkeypatch.setattr(connections, name, 0.3)
    monkeypatch.setattr(body_limit_middleware, "BODY_SECONDS", 0.3)
    settings = settings_of()
    container = build_container(settings)
    async with served(await create_app(settings, container)) as port:
        yield port
    await container.close()


async def exchange(port: int, *parts: str | bytes, pause: float = 0) -> bytes:
    """Send the parts, and return all that comes until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part.encode() if isinstance(part, str) else part)
            await asyncio.sleep(pause)
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                return await reader.read()
        return b""
    finally:
        writer.close()


async def answers(port: int) -> bool:
    """Whether others are answered."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        return (await client.get("/livez")).status_code in {200, 503}


@pytest.mark.parametrize(
    "begun", ["", "POST / HT", "GET /livez HTTP/1.1\r\nHost: gateway\r\nX-Slow: "]
)
async def test_a_head_that_does_not_come_is_not_waited_for(port: int, begun: str) -> None:
    assert await exchange(port, begun) == b""
    assert await answers(port)


async def test_a_head_that_drips_is_not_waited_for(port: int) -> None:
    """However often a byte of it comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def drip() -> None:
        writer.write(b"GET /livez HTTP/1.1\r\nX: ")
        while True:
            await asyncio.sleep(0.02)
            writer.write(b"x")

    dripping = asyncio.create_task(drip())
    with suppress(ConnectionError):
        async with asyncio.timeout(2):
            assert await reader.read() == b""
    assert not dripping.done()

    dripping.cancel()
    writer.close()


@pytest.mark.parametrize(
    "head",
    [
        "GET /livez HTTP/1.1\r\nHost: g\r\nX: " + "x" * 40_000 + "\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: g\r\n" + "X: y\r\n" * 9_000 + "\r\n",
        "GET /" + "x" * 40_000 + " HTTP/1.1\r\nHost: g\r\n\r\n",
    ],
    ids=["a-large-header", "many-headers", "a-large-address"],
)
async def test_a_head_without_measure_is_refused(port: int, head: str) -> None:
    said = await exchange(port, head)

    assert said.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in said
    assert b'"code":"headers_too_large"' in said


@pytest.mark.parametrize(
    "text",
    [
        "NONSENSE\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "GET /livez HTTP/1.1\r\nHost: g\r\nBad Header: x\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: g\r\nX: a\0b\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused_with_a_problem(port: int, text: str) -> None:
    said = await exchange(port, text)

    assert said.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"invalid_request"' in said


async def test_a_body_that_does_not_come_is_answered_for(port: int) -> None:
    head = POST.format(token_of()) + JSON + "Content-Length: 300\r\n\r\n"

    said = await exchange(port, head, "{")

    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in said.lower()
    assert b'"code":"request_timeout"' in said


async def test_a_body_in_pieces_without_end_is_cut_short(port: int) -> None:
    head = POST.format(token_of()) + JSON + "Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"

    said = await exchange(port, head, *[chunk] * 4)

    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in said.lower()


async def test_a_large_body_is_refused_before_it_is_sent_and_its_sender_hears_so(
    port: int,
) -> None:
    """Cut off at once, the sender would get a reset instead of the answer."""
    head = POST.format(token_of()) + JSON + f"Content-Length: {8 * MEBIBYTE}\r\n\r\n"

    said = await exchange(port, head, b"x" * MEBIBYTE)

    assert said.startswith(b"HTTP/1.1 413 ")


async def test_who_has_no_token_has_his_body_not_waited_for(port: int) -> None:
    head = POST.format("nonsense") + JSON + f"Content-Length: {MEBIBYTE // 32}\r\n\r\n"

    said = await exchange(port, head, "{")

    assert said.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in said.lower()


async def test_requests_that_follow_each_other_at_once_are_answered_in_order(port: int) -> None:
    head = "GET {} HTTP/1.1\r\nHost: g\r\n{}\r\n"

    said = await exchange(
        port, head.format("/livez", "") + head.format("/nothing", "Connection: close\r\n")
    )

    assert said.index(b"/1.1 503 ") < said.index(b"/1.1 404 ")  # nothing runs beside this one


async def test_requests_without_number_are_not_queued(port: int) -> None:
    said = await exchange(port, "GET /livez HTTP/1.1\r\nHost: g\r\n\r\n" * 2000)

    assert said.count(b"HTTP/1.1 ") < 100
    assert await answers(port)


async def test_of_too_many_connections_those_that_wait_make_way() -> None:
    settings = settings_of()
    container = build_container(settings)
    async with served(await create_app(settings, container), max_connections=20) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        await asyncio.sleep(0.1)

        assert await answers(port)

        for _, writer in idle:
            writer.close()
    await container.close()


async def test_an_answer_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.3)
    has_ended = asyncio.Event()

    async def pour(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await send({"type": "http.response.start", "status": 200, "headers": []})
        watching = asyncio.create_task(disconnected(receive))
        while not watching.done():
            await send({"type": "http.response.body", "body": b"x" * MEBIBYTE, "more_body": True})
            await asyncio.sleep(0)
        has_ended.set()

    async def disconnected(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with served(pour) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined] # a transport that reads, too
        writer.write(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
        async with asyncio.timeout(5):
            await has_ended.wait()
        writer.close()
