"""How fast is a question answered?

`define` is asked over 50 connections, against a bare Quart route on plain Hypercorn and the same
event loop: the least that a service of this kind costs. One phase of the batch is pruned, so each
answer also makes two lines of the log and an event on Kafka; the caller shows its token, and
metrics and correlation ids are on.

By a profile (py-spy), half of an answer's processor time passes in Hypercorn, h11 and the event
loop, as that of the bare route does; a twelfth in its two lines of the log, a twentieth each in
Redis, in the skip event and in the judgement. Past the framework it goes for the rest: routing and
contexts alone would take a third of the time.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from bench.figures import Figure, Goal, middle, rounds
from bench.http_load import Answers, Load, ask, request
from bench.machine import cpu_seconds
from bench.seeding import fill_redis, register
from bench.servers import Servers
from local_stack.asking import ServiceClient
from local_stack.ports import accepts_connections, find_free_port
from local_stack.processes import ServerProcess
from local_stack.service import ServiceProcess

DEFINE = "/internal/v1/pipelines/define"
TOKEN = "a-token-of-the-bench-a-token-of-the-bench"  # noqa: S105 - of a service of its own
BARE = "bare Quart route"
ESSAYS = 30
OTHER_BATCHES = 100_000


def measure(servers: Servers, *, is_quick: bool) -> Iterator[Figure]:
    """Ask for known and unknown batches, small and large, in an empty and in a full Redis."""
    seconds, count = (1.0, 3) if is_quick else (3.0, 5)
    settings = {"BCS_SERVICE_TOKEN": TOKEN}
    sizes = (10, 1_000) if is_quick else (10, 1_000, 10_000)
    with bare_route() as bare, servers.serving("bcs", settings) as service:
        asked = ServiceClient(service.client.url, token=TOKEN)
        batches = {"known": ESSAYS} | {f"of-{size}": size for size in sizes}
        asyncio.run(register(servers, asked, batches))
        sized = {size: f"batch of {size:,} essays" for size in sizes}
        works = {
            BARE: Load(port=bare, requests=[request("POST", "/", b"{}")], seconds=seconds),
            "one phase pruned": _load(service, ["known"], seconds),
            "unknown batch": _load(service, ["unheard-of"], seconds),
            **{name: _load(service, [f"of-{size}"], seconds) for size, name in sized.items()},
        }
        found = _ask_in_turns(works, count)
        limit = BARE, _rate(found[BARE])
        for work in ("one phase pruned", "unknown batch"):
            yield Figure(
                work=f"define, {work}",
                measured=_rate(found[work]),
                unit="requests/s",
                limit=limit,
                goal=Goal(bound=0.75),
            )
        yield Figure(
            work="define, one phase pruned, p99",
            measured=_p99(found["one phase pruned"]),
            unit="ms",
            limit=(f"{BARE}, p99", _p99(found[BARE])),
            goal=Goal(bound=1.5, kind="at most"),
        )
        smallest, *larger = sized.values()
        for name in larger:
            yield _same(name, found, smallest)
        yield _cpu(service, works["one phase pruned"])
        yield from _in_a_full_redis(servers, service, seconds, count, is_quick=is_quick)


def _in_a_full_redis(
    servers: Servers, service: ServiceProcess, seconds: float, count: int, *, is_quick: bool
) -> Iterator[Figure]:
    others = 1_000 if is_quick else OTHER_BATCHES
    alone, full, each = (
        "the same batch with few others",
        f"one batch with {others:,} others in Redis",
        f"each of {others:,} batches in turn",
    )
    one = _load(service, ["known"], seconds)
    found = _ask_in_turns({alone: one}, count)
    batches = asyncio.run(fill_redis(servers, "known", others))
    found |= _ask_in_turns({full: one, each: _load(service, batches, seconds)}, count)
    yield _same(full, found, alone)
    yield replace(
        _same(each, found, full),
        goal=None,
        remark="who asks for a batch shares a reading of it with all who ask for it at that moment;"
        " here nobody else does.",
    )


def _same(work: str, found: dict[str, list[Answers]], as_work: str) -> Figure:
    return Figure(
        work=f"define, {work}",
        measured=_rate(found[work]),
        unit="requests/s",
        limit=(as_work, _rate(found[as_work])),
        goal=Goal(bound=1 / 1.1),
    )


def _cpu(service: ServiceProcess, load: Load) -> Figure:
    pid = service.pid or 0
    before = cpu_seconds(pid)
    answers = ask(load)
    microseconds = (cpu_seconds(pid) - before) / len(answers.latencies) * 1e6
    return Figure(work="define, processor time of an answer", measured=microseconds, unit="us")


def _ask_in_turns(works: dict[str, Load], count: int) -> dict[str, list[Answers]]:
    found: dict[str, list[Answers]] = {name: [] for name in works}
    for load in works.values():  # what is made by the first request is there by then
        ask(Load(port=load.port, requests=load.requests, seconds=0.3)).require(200)
    for name in rounds(count, *works):
        found[name].append(ask(works[name]).require(200))
    return found


def _load(service: ServiceProcess, batches: Sequence[str], seconds: float) -> Load:
    return Load(port=service.port, requests=list(questions(batches)), seconds=seconds)


def questions(batches: Sequence[str]) -> Iterator[bytes]:
    """Yield what asks for each batch."""
    for batch in batches:
        headers = {"Authorization": f"Bearer {TOKEN}", "X-Correlation-ID": str(uuid4())}
        asked = {"batch_id": batch, "requested_pipeline": "cj_assessment"}
        yield request("POST", DEFINE, json.dumps(asked).encode(), headers)


def _rate(answers: Sequence[Answers]) -> float:
    return middle([one.per_second for one in answers])


def _p99(answers: Sequence[Answers]) -> float:
    return middle([one.within(0.99) for one in answers])


@contextmanager
def bare_route() -> Iterator[int]:
    """Serve a Quart route that does nothing; give its port."""
    port = find_free_port()
    command = [sys.executable, "-m", "bench.bare_quart", str(port)]
    process = ServerProcess("bare", command, log_path=Path("/dev/null"))
    process.start()
    process.wait_ready(lambda: accepts_connections(port))
    try:
        yield port
    finally:
        process.stop()
