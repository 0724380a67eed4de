"""2,000 events with something killed in the middle: all of them in Postgres, each counted once."""

import asyncio
import shutil
import signal
import uuid
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import pytest

from tests.support.builders import RecordedEvent, essay_names, registered, spellchecked
from tests.support.neighbours import ask, send, sender
from tests.support.processes import ServiceProcess
from tests.support.stack import Stack
from tests.support.waiting import eventually

BATCHES = 20
ESSAYS = essay_names(100)
OUTAGE_SECONDS = 2.0

Break = Callable[[Stack, ServiceProcess], Coroutine[None, None, None]]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def batches() -> list[str]:
    run = uuid.uuid4().hex
    return [f"batch-{run}-{number}" for number in range(BATCHES)]


def events_of(batches: Sequence[str]) -> list[RecordedEvent]:
    """Return 2,000 completions, the batches interleaved."""
    return [spellchecked(batch, essay) for essay in ESSAYS for batch in batches]


async def wait_for_all(stack: Stack, batches: list[str]) -> None:
    async def are_there() -> bool:
        return await stack.count_completed(batches) == dict.fromkeys(batches, len(ESSAYS))

    await eventually(are_there, timeout_seconds=90, what="2,000 events in Postgres")


async def assert_all_pruned(address: str, batches: list[str]) -> None:
    """Wait for answers from all of the state: just after an outage they are still degraded."""
    for batch in batches:

        async def is_answered_whole(batch: str = batch) -> bool:
            return not (await ask(address, batch))["degraded"]

        await eventually(is_answered_whole, what="an answer that is not degraded")
        answer = await ask(address, batch)
        assert answer["final_pipeline"] == ["cj_assessment"]
        assert answer["phases"][0]["evidence"]["completed"] == len(ESSAYS)


async def break_redis(stack: Stack, _: ServiceProcess) -> None:
    stack.redis.kill()
    await asyncio.sleep(OUTAGE_SECONDS)
    stack.redis.start()


async def break_postgres(stack: Stack, _: ServiceProcess) -> None:
    stack.postgres.kill()
    await asyncio.sleep(OUTAGE_SECONDS)
    stack.postgres.start()


@pytest.mark.parametrize("breaks", [break_redis, break_postgres])
async def test_a_store_that_dies_in_the_middle_loses_nothing(
    stack: Stack, batches: list[str], breaks: Break
) -> None:
    events = events_of(batches)
    with stack.serve() as (process, address):
        async with sender(stack.kafka_bootstrap_servers) as producer:
            await send(producer, [registered(batch, len(ESSAYS)) for batch in batches])
            await send(producer, events[:1000])
            breaking = asyncio.create_task(breaks(stack, process))
            await send(producer, events[1000:])
            await breaking
        await wait_for_all(stack, batches)
        await assert_all_pruned(address, batches)


async def test_a_service_that_is_killed_in_the_middle_loses_nothing(
    stack: Stack, batches: list[str]
) -> None:
    events = events_of(batches)
    async with sender(stack.kafka_bootstrap_servers) as producer:
        with stack.serve() as (process, _):
            await send(producer, [registered(batch, len(ESSAYS)) for batch in batches])
            await send(producer, events[:1000])

            async def has_begun() -> bool:
                return bool(await stack.count_completed(batches))

            await eventually(has_begun, timeout_seconds=60)
            process.signal(signal.SIGKILL)
            await send(producer, events[1000:])
        with stack.serve() as (_, address):
            await wait_for_all(stack, batches)
            await assert_all_pruned(address, batches)


async def test_a_redis_that_comes_back_empty_loses_nothing(
    stack: Stack, batches: list[str], tmp_path: Path
) -> None:
    events = events_of(batches)
    with stack.serve() as (_, address):
        async with sender(stack.kafka_bootstrap_servers) as producer:
            await send(producer, [registered(batch, len(ESSAYS)) for batch in batches])
            await send(producer, events[:1000])
            stack.redis.kill()
            shutil.rmtree(tmp_path / "valkey" / "appendonlydir")
            stack.redis.start()
            await send(producer, events[1000:])
        await wait_for_all(stack, batches)
        await assert_all_pruned(address, batches)
