"""One, two and four processes of BCS over eight partitions.

Thin events, keyed by essay, become visible at once, by the end of a transaction, when all processes
have their partitions; done with is an event when its offset is committed. On a machine of few cores
the processes share them with the broker, Redis and Postgres: how many were busy is told beside each
figure, and bounds how far more processes can help. A batch is one key of Redis: where all processes
write the same few, as with 200 batches in every poll, they lose tries to each other.

Then processes come and go while events come: one joins, one is killed and started again, one stops.
What is missing in the end in Postgres, of what was sent, is counted.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import asyncpg

from bench.broker import apache_kafka, onlooker, send_at_rate, send_hidden
from bench.figures import Figure, Goal
from bench.machine import TICKS_PER_SECOND
from bench.servers import Servers
from local_stack.ports import find_free_port
from local_stack.service import ServiceProcess
from tests.support.builders import RecordedEvent, registered, spellchecked
from tests.support.servers import plain_url

PARTITIONS = 8
REPLICAS = (1, 2, 4)
MANY, FEW = (4_000, 10), (200, 100)  # batches, and essays of each
MOVING_PER_SECOND = 1_000.0
MOVES_SECONDS = 3.0  # between two that come or go
NONE_LOST = Goal(bound=0, kind="at most")


def measure(servers: Servers, *, is_quick: bool) -> Iterator[Figure]:
    """Measure how the events of a second grow with the processes, and what a rebalance loses."""
    if is_quick:
        return
    with apache_kafka(servers, partitions=PARTITIONS) as own:
        if own is None:
            return
        yield from _measure_growth(own, MANY, REPLICAS)
        yield from _measure_growth(own, FEW, REPLICAS[:2])
        yield _measure_losses(own)


def _measure_growth(
    servers: Servers, sizes: tuple[int, int], counts: Sequence[int]
) -> Iterator[Figure]:
    alone = 0.0
    for count in counts:
        per_second, busy = _measure_speed(servers, sizes, count)
        alone = alone or per_second
        processes = f"{count} processes" if count > 1 else "one process"
        yield Figure(
            work=f"{processes}, {sizes[0]:,} batches of {sizes[1]} essays",
            measured=per_second,
            unit="events/s",
            limit=("one process", alone) if count > 1 else None,
            remark=f"{busy:.1f} cores were busy",
        )


def _measure_speed(servers: Servers, sizes: tuple[int, int], count: int) -> tuple[float, float]:
    """Return the events of a second, and how many cores were busy."""
    events = _spellchecked_batches(f"speed-{count}-{sizes[0]}", *sizes)
    with ExitStack() as running:
        for _ in range(count):
            running.enter_context(servers.serving("bcs"))
        return asyncio.run(_show_at_once(servers.kafka, events, count))


async def _show_at_once(
    kafka: str, events: Sequence[RecordedEvent], members: int
) -> tuple[float, float]:
    async with onlooker(kafka) as seen:
        await seen.wait_for_members(members)
        producer = await send_hidden(kafka, events)
        busy, began = _busy_seconds(), time.monotonic()
        await producer.commit_transaction()
        await seen.wait_until_current()
        seconds = time.monotonic() - began
        busy = _busy_seconds() - busy
        await producer.stop()
        return len(events) / seconds, busy / seconds


def _measure_losses(servers: Servers) -> Figure:
    batches, (count, essays) = "moving", FEW
    with ExitStack() as running:
        processes = [_process(servers) for _ in range(3)]
        for one in processes:
            running.callback(one.stop)
        asyncio.run(
            _come_and_go(servers.kafka, processes, _spellchecked_batches(batches, count, essays))
        )
        there = asyncio.run(_count_completed(servers.postgres, batches))
    return Figure(
        work="completions missing after processes came and went",
        measured=count * essays - there,
        unit=f"of {count * essays:,}",
        goal=NONE_LOST,
    )


async def _come_and_go(
    kafka: str, processes: Sequence[ServiceProcess], events: Sequence[RecordedEvent]
) -> None:
    staying, joining, stopping = processes
    for one in (staying, stopping):
        one.start()
    async with onlooker(kafka) as seen:
        await seen.wait_for_members(2)
        sending = asyncio.create_task(send_at_rate(kafka, events, MOVING_PER_SECOND))
        for move in (joining.launch, staying.kill, staying.launch, stopping.terminate):
            await asyncio.sleep(MOVES_SECONDS)
            move()
        await sending
        await seen.wait_until_current()


async def _count_completed(postgres: str, batches: str) -> int:
    """Return how many completions Postgres has of these batches."""
    connection = await asyncpg.connect(plain_url(postgres))
    try:
        found: int = await connection.fetchval(
            "SELECT coalesce(sum(completed_count), 0) FROM processing_pipeline_state"
            " WHERE batch_id LIKE $1 AND step_name = 'spellcheck'",
            f"{batches}-%",
        )
    finally:
        await connection.close()
    return found


def _process(servers: Servers) -> ServiceProcess:
    port = find_free_port()
    where = servers.directory / f"replica-{port}"
    return ServiceProcess("bcs", where, servers.settings(), port=port)


def _spellchecked_batches(name: str, count: int, essays: int) -> list[RecordedEvent]:
    """Return the events of so many batches, as they come: many batches at a time."""
    names = {
        batch: [f"{batch}-essay-{number}" for number in range(essays)]
        for batch in (f"{name}-{number}" for number in range(count))
    }
    return [
        *(registered(batch, essays, essays=some) for batch, some in names.items()),
        *(spellchecked(batch, some[n]) for n in range(essays) for batch, some in names.items()),
    ]


def _busy_seconds() -> float:
    """Return the seconds that all cores together have worked."""
    user, nice, system, _idle, _waiting, *more = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + sum(more[:2])) / TICKS_PER_SECOND
