"""The gateway: from a caller's request to its answer.

What of the speed of its framework is left once a caller is known, limited, counted and audited,
his click is acknowledged by Kafka and kept under its key, or his status is asked of BOS? The limit
is a FastAPI route of the same models with nothing behind it, on the same uvicorn and event loop.
Clicks are of 6,000 teachers in turn, questions of 1,500 who look again and again, with the limits
of production; BOS is played by a process that only answers.

Where the time went, by a profile of each call (cProfile): the framework took 0.08 ms of each, so
both are answered past it; the limits' library 0.04 ms a window, so one script counts in all of
them; the client that asked BOS 0.05 ms too much, so it is one that does no more than that. A click
takes 0.17 ms of processor time now, a status 0.11, the bare routes 0.08 and 0.07.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from uuid import uuid4

from api_gateway_service.services.status_views import to_view
from bench.figures import Figure, Goal, middle, rounds
from bench.gateway_peers import batch_of, peer, state_of
from bench.http_load import Load, ask, request
from bench.machine import resident_mebibytes
from bench.servers import Servers
from local_stack.ports import LOCALHOST
from local_stack.tokens import make_secret, make_token

TEACHERS = 6_000  # who click in turn: so many that nobody is refused for the limits
WATCHERS = 1_500  # of them, who look again and again, as their pages do
CONNECTIONS = 50
MOST_PER_SECOND = 6_000  # of one process
RATE = 100.0  # requests a second, for the latency
STREAMS, STREAMS_A_TEACHER = 1_000, 5
LATENCY_SECONDS = 10.0
SETTLING_SECONDS = 3.0  # in which BOS is asked again for each batch
CLICK_GOAL, STATUS_GOAL = Goal(bound=0.4, alarm=0.08), Goal(bound=0.5, alarm=0.1)
LATENCY_GOAL = Goal(bound=50, kind="at most")
BODY = json.dumps({"requested_pipeline": "cj_assessment"}).encode()


class Callers:
    """Teachers with their tokens, and what they ask."""

    def __init__(self, secret: str, count: int) -> None:
        self._headers = {
            name: {"Authorization": f"Bearer {make_token(secret, name)}"}
            for name in (f"teacher-{number}" for number in range(count))
        }
        self._next = 0

    def clicks(self, count: int) -> list[bytes]:
        """Return clicks, each with a key of its own, of one teacher after the other."""
        return [
            request(
                "POST",
                f"/v1/batches/{batch_of(name)}/pipelines",
                BODY,
                self._headers[name] | {"Idempotency-Key": uuid4().hex},
            )
            for name in self._in_turn(count, TEACHERS)
        ]

    def looks(self, count: int, *, among: int = WATCHERS, has_seen: bool = False) -> list[bytes]:
        """Return questions for a status; who has seen it names the version."""
        return [
            request(
                "GET",
                f"/v1/batches/{batch_of(name)}/status",
                headers=self._headers[name] | (_seen(name) if has_seen else {}),
            )
            for name in self._in_turn(count, among)
        ]

    def listening(self, number: int) -> bytes:
        """Return a question for the events of a batch, by the teacher of that number."""
        name = f"teacher-{number}"
        return request("GET", f"/v1/batches/{batch_of(name)}/events", headers=self._headers[name])

    def _in_turn(self, count: int, among: int) -> Iterator[str]:
        for _ in range(count):
            yield f"teacher-{self._next % among}"
            self._next += 1


def _seen(teacher: str) -> dict[str, str]:
    return {"If-None-Match": f'"{to_view(state_of(batch_of(teacher))).tag}"'}


def measure(servers: Servers, *, is_quick: bool) -> Iterator[Figure]:
    """Measure it."""
    secret = make_secret()
    with ExitStack() as running:
        orchestrator = running.enter_context(peer("orchestrator", servers.directory))
        bare = running.enter_context(peer("bare", servers.directory))
        settings = {
            "API_GATEWAY_JWT_SECRET": secret,
            "API_GATEWAY_REDIS_URL": servers.redis,
            "API_GATEWAY_BOS_URL": f"http://{LOCALHOST}:{orchestrator}",
        }
        gateway = running.enter_context(servers.serving("gateway", settings))
        callers = Callers(secret, TEACHERS)
        # Who clicks has a page open, which has asked for the status.
        ask(
            Load(port=gateway.port, requests=callers.looks(TEACHERS, among=TEACHERS), seconds=None)
        ).require(200)
        yield from _measure_speed(callers, gateway.port, bare, is_quick=is_quick)
        if not is_quick:
            yield from _measure_latency(callers, gateway.port)
            yield asyncio.run(_measure_streams(callers, gateway.port, gateway.pid))


def _measure_speed(
    callers: Callers, gateway: int, bare: int, *, is_quick: bool
) -> Iterator[Figure]:
    seconds = 1.0 if is_quick else 1.5  # of longer ones the watchers would pass their limits
    count = int(seconds * MOST_PER_SECOND)
    clicks, looks = partial(callers.clicks, count), partial(callers.looks, count)
    works: dict[str, tuple[int, Callable[[], list[bytes]], int]] = {
        "click": (gateway, clicks, 202),
        "bare click": (bare, clicks, 202),
        "look": (gateway, looks, 200),
        "look again": (gateway, partial(looks, has_seen=True), 304),
        "bare look": (bare, looks, 200),
    }
    speeds: dict[str, list[float]] = {name: [] for name in works}
    for name in rounds(1 if is_quick else 5, *works):
        port, make, status = works[name]
        load = Load(port=port, requests=make(), connections=CONNECTIONS, seconds=seconds)
        speeds[name].append(ask(load).require(status).per_second)
    found = {name: middle(several) for name, several in speeds.items()}
    for work, name, limit, goal in (
        ("asking for a pipeline, acknowledged by Kafka", "click", "bare click", CLICK_GOAL),
        ("a status", "look", "bare look", STATUS_GOAL),
        ("a status that the caller has, 304", "look again", "bare look", STATUS_GOAL),
    ):
        yield Figure(
            work=f"{work}, {CONNECTIONS} connections",
            measured=found[name],
            unit="requests/s",
            limit=(f"{limit} route", found[limit]),
            goal=goal,
        )


def _measure_latency(callers: Callers, port: int) -> Iterator[Figure]:
    count = int(RATE * LATENCY_SECONDS)
    for work, requests, status, goal in (
        ("asking for a pipeline", callers.clicks(count), 202, LATENCY_GOAL),
        ("a status", callers.looks(count), 200, None),
    ):
        answers = ask(Load(port=port, requests=requests, seconds=LATENCY_SECONDS, rate=RATE))
        answers.require(status)
        yield Figure(
            work=f"{work} at {RATE:.0f}/s, 99 of 100",
            measured=answers.within(0.99),
            unit="ms",
            goal=goal,
            remark=f"the median is {answers.within(0.5):.1f} ms.",
        )


async def _measure_streams(callers: Callers, port: int, pid: int | None) -> Figure:
    assert pid is not None
    before = resident_mebibytes(pid)
    streams = [await asyncio.open_connection(LOCALHOST, port) for _ in range(STREAMS)]
    try:
        for number, (reader, writer) in enumerate(streams):
            writer.write(callers.listening(number // STREAMS_A_TEACHER))
            await reader.readuntil(b"event: status")
        await asyncio.sleep(SETTLING_SECONDS)
        measured = resident_mebibytes(pid)
    finally:
        for _, writer in streams:
            writer.close()
    return Figure(
        work=f"the process with {STREAMS:,} event streams open",
        measured=measured,
        unit="MiB",
        goal=Goal(bound=150, kind="at most"),
        remark=f"{before:.0f} MiB before; {STREAMS_A_TEACHER} streams to each batch.",
    )
