"""How fast events become facts.

From the first event sent until every offset is committed, which happens only when Postgres holds
what the event says. Events of one essay each come shuffled over 200 batches and keyed by essay, as
the spellchecker sends them, so a poll has events of nearly all batches. Then the same batches are
assessed, one event for all essays of a batch. The sender is a process of its own; broker, Redis,
Postgres and sender share the machine with the service.

While assessments come the process's core is full: of an essay's 36 us (cProfile) a third counts
what holds for it, a fifth writes its field and its document, as much each goes to reading it and to
the worker, which binds its row for Postgres.

Beside it: the same events by a consumer that applies and commits one at a time; and how long a
question takes that is asked while they come.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from batch_conductor_service.implementations.redis import keys
from bench.drain import ask_define
from bench.event_stream import Stream, committed, send
from bench.figures import Figure, Goal, middle, rounds
from bench.machine import cpu_seconds
from bench.one_by_one import consume_one_by_one
from bench.servers import Servers, ask_postgres
from local_stack.service import ServiceProcess

EVENTS_GOAL = 8_000  # a second
CPU_GOAL = 90  # microseconds an event
ESSAYS_GOAL = 20_000  # a second
ASKING_SECONDS = 2.5  # less than the events of 600 batches take
ONE_BY_ONE = "one at a time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """How fast a stream went through, and what the service's process took for each essay."""

    essays_per_second: float
    cpu_microseconds: float


def measure(servers: Servers, is_quick: bool) -> Iterator[Figure]:
    """Yield the figures of thin events and of assessments."""
    number, thin, assessments, naive = 0, list[Passed](), list[Passed](), list[float]()
    waits = defaultdict[str, list[float]](list)
    for kind in rounds(1 if is_quick else 3, ONE_BY_ONE, "service"):
        number += 1
        if kind == ONE_BY_ONE:
            few = Stream(name=f"naive-{number}", batches=20, essays=10 if is_quick else 50)
            naive.append(asyncio.run(consume_one_by_one(servers, few)))
            asyncio.run(check_held(servers, few))
            continue
        with servers.serving("bcs") as service:
            passes(servers, service, Stream(name=f"warming-{number}", batches=20))
            parts, batches, name = (1, 50, "quick") if is_quick else (3, 200, f"round-{number}")
            for part in range(parts):
                some = Stream(name=name, first=part * batches, batches=batches)
                thin.append(passes(servers, service, some))
            judged = Stream(kind="assessments", name=name, batches=parts * batches)
            assessments.append(passes(servers, service, judged))
            if not is_quick:
                for work, wait in ask_meanwhile(servers, service, f"asked-{number}").items():
                    waits[work].append(wait)
    one_by_one = (ONE_BY_ONE, middle(naive))
    yield Figure(
        work="events of one essay",
        measured=middle([one.essays_per_second for one in thin]),
        unit="events/s",
        goal=Goal(bound=EVENTS_GOAL),
    )
    yield Figure(
        work="events of one essay, beside one at a time",
        measured=middle([one.essays_per_second for one in thin]),
        unit="events/s",
        limit=one_by_one,
        goal=Goal(bound=EVENTS_GOAL / middle(naive), alarm=5),
    )
    yield Figure(
        work="processor time of the service for one of them",
        measured=middle([one.cpu_microseconds for one in thin]),
        unit="us",
        goal=Goal(bound=CPU_GOAL, kind="at most"),
    )
    yield Figure(
        work="completions of assessments of 100 essays",
        measured=middle([one.essays_per_second for one in assessments]),
        unit="essays/s",
        goal=Goal(bound=ESSAYS_GOAL),
    )
    yield Figure(
        work="processor time of the service for an essay of them",
        measured=middle([one.cpu_microseconds for one in assessments]),
        unit="us",
    )

    for work, each in waits.items():
        yield Figure(
            work=f"define while {work} come, 99 of 100 within", measured=middle(each), unit="ms"
        )


def ask_meanwhile(servers: Servers, service: ServiceProcess, name: str) -> Mapping[str, float]:
    """Return within how many milliseconds `define` is answered while events of each kind come."""
    kinds: Mapping[str, Literal["thin", "assessments"]] = {
        "events of one essay": "thin",
        "assessments": "assessments",
    }
    waits = {}
    with ThreadPoolExecutor(1) as beside:
        for work, kind in kinds.items():
            asking = beside.submit(ask_define, service, f"{name}-0", ASKING_SECONDS)
            passes(servers, service, Stream(kind=kind, name=name, batches=600))
            waits[work] = asking.result().within(0.99)
    return waits


def passes(servers: Servers, service: ServiceProcess, stream: Stream) -> Passed:
    """Send a stream, and return how it went through.

    Raises:
        RuntimeError: it is committed, but Postgres or the queue shows otherwise.
    """
    assert service.pid is not None
    taken = cpu_seconds(service.pid)
    sent = send(servers.kafka, stream)
    done_at = asyncio.run(committed(servers.kafka, sent.ends))
    taken = cpu_seconds(service.pid) - taken
    asyncio.run(check_held(servers, stream))
    essays = stream.essays_in_all
    return Passed(
        essays_per_second=essays / (done_at - sent.began_at),
        cpu_microseconds=taken / essays * 1e6,
    )


async def check_held(servers: Servers, stream: Stream) -> None:
    """See that the queue is empty and that all essays of the stream stand in Postgres.

    Raises:
        RuntimeError: they do not.
    """
    step = "spellcheck" if stream.kind == "thin" else "cj_assessment"
    query = (
        "SELECT count(DISTINCT essay_id) FROM essay_step_evidence"
        " WHERE batch_id = ANY($1) AND step_name = $2 AND status = 'completed'"
    )
    held = await ask_postgres(servers.postgres, query, stream.batch_ids, step)
    async with Redis.from_url(servers.redis) as redis:
        queued = await redis.xlen(keys.PERSISTENCE_QUEUE)
    if (held, queued) != (stream.essays_in_all, 0):
        raise RuntimeError(f"Of {stream} {held} essays are held and {queued} entries queued.")
