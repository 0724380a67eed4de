"""A neighbour is asked over connections that are kept, and no answer is taken for another's."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import trustme
from aiohappyeyeballs import AddrInfoType, start_connection

from service_libs.http import origin
from service_libs.http.origin import ConnectionClosedError, HttpAnswerError, HttpOrigin
from tests.support.waiting import eventually

MAX_BODY_BYTES = 1000
HANG_UP = b""  # in place of an answer
SILENCE = b"\0"  # so: none, and the connection stays open
Answers = Sequence[bytes]


@dataclass
class Neighbour:
    """A server that says what a test tells it.

    Attributes:
        heads: of what was asked, by connection.
    """

    connections: list[Answers]
    url: str = ""
    heads: list[list[str]] = field(default_factory=list)
    ended: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Give the answers of one connection, one to each question, and close it."""
        heads: list[str] = []
        self.heads.append(heads)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            for answer in self.connections[min(len(self.heads), len(self.connections)) - 1]:
                heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                if answer == SILENCE:
                    await reader.read()
                    break
                writer.write(answer)
                await writer.drain()
        self.ended += 1
        writer.close()


def says(text: str, *lines: str, status: int = 200) -> bytes:
    """Return an answer."""
    head = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(text)}", *lines]
    return "\r\n".join([*head, "", text]).encode()


@asynccontextmanager
async def neighbour(
    *connections: Answers, ssl: ssl.SSLContext | None = None
) -> AsyncIterator[Neighbour]:
    """Run one; the last connection's answers are those of every later one."""
    it = Neighbour([*connections])
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0, ssl=ssl)
    it.url = f"{'https' if ssl else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        server.close()


@asynccontextmanager
async def asking(
    url: str, *, max_connections: int = 5, trusted: ssl.SSLContext | None = None
) -> AsyncIterator[HttpOrigin]:
    """Give what asks it."""
    asks = HttpOrigin(
        url,
        headers={"Authorization": "Bearer s3cret"},
        ssl=trusted or ssl.create_default_context(),
        max_connections=max_connections,
        max_body_bytes=MAX_BODY_BYTES,
    )
    try:
        yield asks
    finally:
        await asks.close()


async def test_a_question_says_all_that_it_has_to() -> None:
    async with neighbour([says("one", "ETag: W/x")]) as it, asking(f"{it.url}/below/") as asks:
        answer = await asks.get("/batches/a%2Fb", {"If-None-Match": "x"})

    assert (answer.status, answer.body, answer.headers[b"etag"]) == (200, b"one", b"W/x")
    assert it.heads[0][0].split("\r\n") == [
        "GET /below/batches/a%2Fb HTTP/1.1",
        f"Host: {it.url.removeprefix('http://')}",
        "Accept: application/json",
        "Authorization: Bearer s3cret",
        "If-None-Match: x",
        "",
        "",
    ]


@pytest.mark.parametrize(
    "first",
    [
        says("one"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n2\r\nne\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + says("one"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + says("one"),
    ],
)
async def test_a_connection_is_used_again(first: bytes) -> None:
    async with neighbour([first, says("two")]) as it, asking(it.url) as asks:
        answers = [await asks.get("/"), await asks.get("/")]

    assert [(answer.status, answer.body) for answer in answers] == [(200, b"one"), (200, b"two")]
    assert len(it.heads) == 1


async def test_an_answer_without_a_body_ends_with_its_head() -> None:
    unchanged = b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 999\r\n\r\n'
    async with neighbour([unchanged, says("two")]) as it, asking(it.url) as asks:
        answers = [await asks.get("/"), await asks.get("/")]

    assert [(answer.status, answer.body) for answer in answers] == [(304, b""), (200, b"two")]
    assert len(it.heads) == 1


async def test_an_answer_may_come_byte_by_byte() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in says("slow", "ETag: x"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with asking(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as asks:
        answer = await asks.get("/")
    server.close()

    assert (answer.body, answer.headers[b"etag"]) == (b"slow", b"x")


async def test_a_connection_that_was_closed_meanwhile_is_made_again() -> None:
    connections = [says("one")], [says("two"), says("three")]
    async with neighbour(*connections) as it, asking(it.url) as asks:
        answers = [await asks.get("/") for _ in range(3)]

    assert [answer.body for answer in answers] == [b"one", b"two", b"three"]
    assert [len(heads) for heads in it.heads] == [1, 2]


async def test_a_question_that_a_kept_connection_swallows_is_asked_again() -> None:
    """The server closes it without a word, at the moment in which the question comes."""
    connections = [says("one"), HANG_UP], [says("two")]
    async with neighbour(*connections) as it, asking(it.url) as asks:
        answers = [await asks.get("/"), await asks.get("/")]

    assert [answer.body for answer in answers] == [b"one", b"two"]
    assert [len(heads) for heads in it.heads] == [2, 1]


async def test_a_question_that_had_some_of_an_answer_is_not_asked_again() -> None:
    connections = [says("one"), says("two")[:5]], [says("three")]
    async with neighbour(*connections) as it, asking(it.url) as asks:
        await asks.get("/")

        with pytest.raises(HttpAnswerError):
            await asks.get("/")
        assert len(it.heads) == 1


async def test_a_new_connection_that_is_closed_without_a_word_is_no_answer() -> None:
    async with neighbour([]) as it, asking(it.url) as asks:
        with pytest.raises(ConnectionClosedError):
            await asks.get("/")

    assert len(it.heads) == 1


async def test_a_neighbour_is_believed_by_its_certificate() -> None:
    authority, others = trustme.CA(), trustme.CA()
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(own)
    trusting, doubting = ssl.create_default_context(), ssl.create_default_context()
    authority.configure_trust(trusting)
    others.configure_trust(doubting)

    async with neighbour([says("one"), says("two")], ssl=own) as it:
        async with asking(it.url, trusted=trusting) as asks:
            answers = [await asks.get("/"), await asks.get("/")]
        async with asking(it.url, trusted=doubting) as asks:
            with pytest.raises(ssl.SSLCertVerificationError):
                await asks.get("/")

    assert [answer.body for answer in answers] == [b"one", b"two"]
    assert len(it.heads) == 1


async def test_where_nobody_listens_there_is_no_connection() -> None:
    async with asking("http://127.0.0.1:1") as asks:
        with pytest.raises(ConnectionRefusedError):
            await asks.get("/")


@pytest.mark.parametrize(
    "answer",
    [
        says("one", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\none",
        says("one") + says("of nobody's question"),
        says("one") + b"HTTP/1.1 200",
    ],
)
async def test_a_connection_that_cannot_be_trusted_is_not_used_again(answer: bytes) -> None:
    async with neighbour([answer, says("wrong")], [says("two")]) as it, asking(it.url) as asks:
        assert (await asks.get("/")).body == b"one"
        assert (await asks.get("/")).body == b"two"


async def test_what_comes_unasked_closes_the_connection() -> None:
    speaks = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(says("one"))
        await speaks.wait()
        writer.write(says("unasked"))
        assert await reader.read() == b""
        closed.set()
        writer.close()

    closed = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with asking(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as asks:
        assert (await asks.get("/")).body == b"one"
        speaks.set()
        await asyncio.wait_for(closed.wait(), 5)
    server.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not_http"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "not_http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\none", "not_http"),
        (says("x" * (MAX_BODY_BYTES + 1)), "body_too_large"),
        (says("x", "X-Long: " + "x" * 70_000), "head_too_large"),
        (says("x", *(f"X-{number}: x" for number in range(20_000))), "head_too_large"),
        (says("one")[:-1], "closed"),
        (b"HTTP/1.1 200 OK\r\n\r\nof no known length", "closed"),
    ],
)
async def test_what_cannot_be_read_is_no_answer(answer: bytes, reason: str) -> None:
    async with neighbour([answer], [says("two")]) as it, asking(it.url) as asks:
        with pytest.raises(HttpAnswerError, match=reason):
            await asks.get("/")

        assert (await asks.get("/")).body == b"two"


async def test_a_head_without_end_is_not_read_for_long() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        with suppress(ConnectionError):
            while True:
                writer.write(b"x" * 1000)
                await writer.drain()
        ended.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with asking(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as asks:
        with pytest.raises(HttpAnswerError, match="head_too_large"):
            await asyncio.wait_for(asks.get("/"), 5)
        await asyncio.wait_for(ended.wait(), 5)
    server.close()


async def test_of_several_addresses_a_silent_one_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a name has, of which one host is dead and answers nothing at all."""
    silent = socket.create_server(("127.0.0.2", 0), backlog=0)
    port = silent.getsockname()[1]
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.settimeout(0)
        filler.connect_ex(("127.0.0.2", port))
    server = await asyncio.start_server(Neighbour([[says("one")]]).serve, "127.0.0.1", port)
    found: list[AddrInfoType] = [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
        for host in ("127.0.0.2", "127.0.0.1")
    ]

    async def start(_: object, **options: Any) -> socket.socket:
        return await start_connection(found, **options)

    monkeypatch.setattr(origin, "start_connection", start)
    loop = asyncio.get_running_loop()
    async with asking(f"http://127.0.0.1:{port}") as asks:
        started = loop.time()
        answer = await asyncio.wait_for(asks.get("/"), 5)
        taken = loop.time() - started
    server.close()
    for one in (silent, *fillers):
        one.close()

    assert answer.body == b"one"
    assert 0.2 < taken < 2


async def test_who_gives_up_leaves_room_and_no_answer_behind() -> None:
    connections = [says("one"), SILENCE], [says("two")]
    async with neighbour(*connections) as it, asking(it.url, max_connections=1) as asks:
        await asks.get("/")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asks.get("/"), 0.1)

        assert (await asks.get("/")).body == b"two"
        await eventually(lambda: it.ended == 2)  # the first, too, on which nothing came


async def test_no_more_are_asked_at_once_than_there_are_connections() -> None:
    at_once: list[int] = []
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                asked += 1
                at_once.append(asked)
                await asyncio.sleep(0.005)
                asked -= 1
                writer.write(says("one"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with asking(url, max_connections=3) as asks:
        answers = await asyncio.gather(*(asks.get("/") for _ in range(30)))
    server.close()

    assert len(answers) == 30
    assert max(at_once) == 3


async def test_a_connection_that_was_idle_for_long_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What stands in between may have forgotten it, and says nothing."""
    async with neighbour([says("one"), SILENCE], [says("two")]) as it, asking(it.url) as asks:
        await asks.get("/")
        monkeypatch.setattr(origin, "KEPT_SECONDS", 0.0)

        assert (await asks.get("/")).body == b"two"


async def test_whoever_waits_at_the_end_is_told() -> None:
    async with neighbour([SILENCE]) as it, asking(it.url) as asks:
        waiting = asyncio.ensure_future(asks.get("/"))
        await eventually(lambda: it.heads != [])
        await asks.close()

        with pytest.raises(ConnectionClosedError):
            await asyncio.wait_for(waiting, 5)
        with pytest.raises(ConnectionClosedError):
            await asks.get("/")
