"""What an outage of Postgres has left in the queue gets there, however much it is."""

import time
import uuid

import pytest
from redis.asyncio import Redis

from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.persisting.codec import encode_update
from tests.support.builders import essay_names, evidence, update
from tests.support.stack import Stack
from tests.support.waiting import eventually

BATCHES, ESSAYS = 100, 10_000

pytestmark = pytest.mark.timeout(900)


async def queue_batches(url: str, batches: list[str]) -> None:
    """Leave an entry of each batch in the queue, counted as the service counts them."""
    said = [evidence(essay) for essay in essay_names(ESSAYS)]
    async with Redis.from_url(url) as redis:
        for batch in batches:
            payload = encode_update(update(batch, *said))
            await redis.hincrby(keys.PERSISTENCE_WAITING, batch, 1)
            await redis.hincrby(keys.PERSISTENCE_WAITING, keys.WAITING_OF_ALL, 1)
            await redis.incrby(keys.PERSISTENCE_BYTES, len(payload))
            await redis.xadd(keys.PERSISTENCE_QUEUE, {"batch": batch, "update": payload})


async def test_a_hundred_queued_batches_of_ten_thousand_essays_drain(stack: Stack) -> None:
    batches = [f"batch-{uuid.uuid4().hex}" for _ in range(BATCHES)]
    await queue_batches(stack.redis.url, batches)

    async def are_there() -> bool:
        return await stack.count_completed(batches) == dict.fromkeys(batches, ESSAYS)

    with stack.serve() as (process, _):
        began = time.monotonic()
        await eventually(are_there, timeout_seconds=800, what="all of it in Postgres")
        seconds = time.monotonic() - began
        async with Redis.from_url(stack.redis.url) as redis:
            await eventually(lambda: _is_empty(redis), what="an empty queue")

    print(f"{BATCHES * ESSAYS:,} essays in {seconds:.0f} s")  # noqa: T201 - worth having
    assert not [line for line in process.log if line["level"] == "critical"]


async def _is_empty(redis: Redis) -> bool:
    return not await redis.xlen(keys.PERSISTENCE_QUEUE)
