"""Much at once through the whole service, within the memory that the composition gives it."""

import uuid
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.builders import (
    RecordedEvent,
    assessed,
    phase_outcome,
    registered,
    spellchecked,
)
from tests.support.neighbours import ask, send, sender
from tests.support.processes import ServiceProcess
from tests.support.stack import Stack
from tests.support.waiting import eventually

LIMIT_MIB = 512  # of the composition, for everything in the container
RECORDS_AT_A_TIME = 1000

pytestmark = pytest.mark.timeout(600)


def essays(count: int) -> list[str]:
    """Return ids as long as real ones."""
    return [f"{number:08d}-5f0e-4c0a-9d53-3d1a54a4d9c1" for number in range(count)]


def peak_mib(process: ServiceProcess) -> float:
    """Return the most memory that the process ever had."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


async def send_all(stack: Stack, events: list[RecordedEvent]) -> None:
    async with sender(stack.kafka_bootstrap_servers) as producer:
        for start in range(0, len(events), RECORDS_AT_A_TIME):
            await send(producer, events[start : start + RECORDS_AT_A_TIME])


async def wait_for(stack: Stack, completed: dict[str, int]) -> None:
    """Return when Postgres has counted so many spellchecks of each batch."""

    async def are_there() -> bool:
        return await stack.count_completed(list(completed)) == completed

    await eventually(are_there, timeout_seconds=240, what="the batches in Postgres")


async def test_what_200_outcomes_of_2000_essays_leave_in_the_queue_fits(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCS_AUDIT_INTERVAL_SECONDS", "2")
    run, names = uuid.uuid4().hex, essays(2000)
    batches = [f"batch-{run}-{number}" for number in range(200)]
    async with Redis.from_url(stack.redis.url) as redis:

        async def is_queued() -> bool:
            return (await redis.memory_usage("bcs:persistence:queue") or 0) > 60_000_000

        stack.postgres.kill()
        with stack.serve() as (process, address):
            await send_all(stack, [phase_outcome(batch, names) for batch in batches])
            await eventually(is_queued, timeout_seconds=240, what="60 MB in the queue")
            stack.postgres.start()
            await wait_for(stack, dict.fromkeys(batches, 2000))
            peak = peak_mib(process)
            assert (await ask(address, batches[0]))["final_pipeline"] == ["cj_assessment"]

    print(f"peak of 200 outcomes: {peak:.0f} MiB")  # noqa: T201 - the figure is worth having
    assert peak < LIMIT_MIB


async def test_a_batch_of_30000_essays_fits(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCS_AUDIT_INTERVAL_SECONDS", "10")
    batch, names = f"batch-{uuid.uuid4().hex}", essays(30_000)
    parts = [names[start : start + 5000] for start in range(0, len(names), 5000)]
    with stack.serve() as (process, address):
        await send_all(
            stack,
            [
                registered(batch, len(names), essays=[]),
                *(phase_outcome(batch, part) for part in parts),
                *(assessed(batch, part) for part in parts),
            ],
        )
        await send_all(stack, [spellchecked(batch, essay) for essay in names])
        await wait_for(stack, {batch: len(names)})
        answer = await ask(address, batch)
        async with httpx.AsyncClient(timeout=30) as client:
            outputs = await client.get(f"{address}/internal/v1/batches/{batch}")
        peak = peak_mib(process)

    print(f"peak of 30,000 essays: {peak:.0f} MiB")  # noqa: T201 - the figure is worth having
    assert answer["phases"][0]["evidence"]["completed"] == len(names)
    assert outputs.status_code == 200
    assert peak < LIMIT_MIB
