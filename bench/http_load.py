"""Callers of an HTTP service, in a process of their own, over connections that stay open.

They do as little as can be done for a request, so that what is measured is the service.
"""

import asyncio
import itertools
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import uvloop

from bench.figures import quantile
from bench.parent import answer_parent

LOCALHOST = "127.0.0.1"
PATIENCE_SECONDS = 30.0  # for the last answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked, by how many, and for how long.

    Attributes:
        requests: what is sent, in turn, each as its bytes.
        seconds: for how long to ask; None asks each once.
        rate: requests a second over all connections, whatever the answers take; None asks as soon
            as the answer before is there.
    """

    port: int
    requests: Sequence[bytes]
    connections: int = 50
    seconds: float | None = 3.0
    rate: float | None = None


@dataclass(slots=True, kw_only=True)
class Answers:
    """What came back, and how long each took; at a rate, from when it was to be asked."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    last: bytes = b""

    @property
    def per_second(self) -> float:
        """How many there were in a second."""
        return len(self.latencies) / self.seconds

    def within(self, share: float) -> float:
        """Return the milliseconds that the share of all answers took at most."""
        return quantile(self.latencies, share) * 1000

    def require(self, status: int) -> "Answers":
        """Return the answers, if all have the status; what is refused fast is no speed.

        Raises:
            RuntimeError: some have another.
        """
        if set(self.statuses) != {status}:
            raise RuntimeError(f"Answers were {dict(self.statuses)}; one of them: {self.last!r}")
        return self


def ask(load: Load) -> Answers:
    """Run the callers in a process of their own, and return what they heard."""
    done = subprocess.run(
        [sys.executable, "-c", "from bench.http_load import answer; answer()"],
        input=pickle.dumps(load),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace"))
    answers: Answers = pickle.loads(done.stdout)  # noqa: S301 - from the process that we started
    return answers


def request(
    method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """Return a request as its bytes."""
    fields = {"Host": LOCALHOST, **(headers or {})}
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Caller(asyncio.Protocol):
    """One connection: asks, hears the answer out, and asks again."""

    def __init__(self, port: int, turns: Iterator[tuple[float, bytes]], answers: Answers) -> None:
        self._port = port
        self._turns = turns
        self._answers = answers
        self._loop = asyncio.get_running_loop()
        self._heard = b""
        self.done: asyncio.Future[None] = self._loop.create_future()

    async def connect(self) -> None:
        """Connect, at first or again: the service ends a connection after many requests."""
        self._is_leaving = False
        await self._loop.create_connection(lambda: self, LOCALHOST, self._port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._take_turn()

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, found, rest = self._heard.partition(b"\r\n\r\n")
        if not found or len(rest) < _content_length(head):
            return
        self._answers.latencies.append(self._loop.time() - self._due)
        self._answers.statuses[int(head[9:12])] += 1
        self._answers.last, self._heard = self._heard, b""
        if b"connection: close" in head.lower():
            self._is_leaving = True
            self._transport.close()
        else:
            self._take_turn()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_leaving and not self.done.done():
            self._reconnecting = self._loop.create_task(self.connect())
        elif not self.done.done():
            self.done.set_exception(exc or ConnectionError("The service closed the connection."))

    def _take_turn(self) -> None:
        turn = next(self._turns, None)
        if turn is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._due, payload = turn
        wait = self._due - self._loop.time()
        if wait > 0:
            self._loop.call_later(wait, self._transport.write, payload)
        else:
            self._transport.write(payload)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _turns(load: Load, now: float) -> Iterator[tuple[float, bytes]]:
    """Yield when each request is due, and the request."""
    loop = asyncio.get_running_loop()
    requests = load.requests if load.seconds is None else itertools.cycle(load.requests)
    end = float("inf") if load.seconds is None else now + load.seconds
    for number, payload in enumerate(requests):
        due = loop.time() if load.rate is None else now + number / load.rate
        if due >= end:
            return
        yield due, payload


async def _call(load: Load) -> Answers:
    answers, loop = Answers(), asyncio.get_running_loop()
    waiting: list[asyncio.Future[None]] = []
    started = loop.time()
    turns = _turns(load, started)
    for _ in range(load.connections):
        caller = _Caller(load.port, turns, answers)
        await caller.connect()
        waiting.append(caller.done)
    async with asyncio.timeout((load.seconds or 0) + PATIENCE_SECONDS):
        await asyncio.gather(*waiting)
    answers.seconds = loop.time() - started
    return answers


def answer() -> None:
    """Do what the standard input asks for, and write what was heard to the standard output."""
    load = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
    answer_parent(uvloop.run(_call(load)))
