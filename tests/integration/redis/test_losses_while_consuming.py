"""A queue that lost entries under a running consumer: what was in flight is read again."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.models import BatchId, StepName
from service_libs.memory.broker import MemoryBroker
from service_libs.redis.connections import RedisPolicy
from tests.support.builders import spellchecked
from tests.support.database import migrated_database_url, migrated_engine
from tests.support.draining import drain
from tests.support.kafka import unique
from tests.support.loops import (
    create_consumed_topics,
    memory_connect,
    produce,
    quick_policy,
    running,
    until,
)
from tests.support.membership import consumer_with
from tests.support.pipelines import DEPENDENCIES
from tests.support.repositories import redis_repository

__all__ = ["migrated_database_url", "migrated_engine"]

STREAM, GROUP = "bcs:persistence:queue", "bcs:persistence:workers"
RECORDS = 10
LOSSES = {
    "trimmed": ("XTRIM", STREAM, "MAXLEN", 1),
    "one-deleted": ("XDEL", STREAM, "the first"),
    "group-moved": ("XGROUP", "SETID", STREAM, GROUP, "$"),
    "group-destroyed": ("XGROUP", "DESTROY", STREAM, GROUP),
}


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[RedisPersistenceQueue]:
    """The queue, which only the test empties."""
    opened = RedisPersistenceQueue(
        redis_url, RedisPolicy(), worker_name="worker", takeover_seconds=30
    )
    yield opened
    await opened.close()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
async def test_everything_in_flight_is_read_again_and_reaches_postgres(
    redis_url: str,
    migrated_engine: AsyncEngine,
    queue: RedisPersistenceQueue,
    loss: tuple[str | int, ...],
) -> None:
    broker, batch, policy = MemoryBroker(), BatchId(unique("batch")), quick_policy()
    create_consumed_topics(broker)
    archive = PostgresBatchStateRepository(migrated_engine, DEPENDENCIES)
    committed = broker.group(policy.group_id).committed

    async def is_queued(count: int) -> bool:
        return (await queue.get_backlog()).depth == count

    async def count_persisted() -> int:
        steps = (await archive.get_summary(batch)).summary.steps
        return steps[StepName("spellcheck")].completed if steps else 0

    async def is_committed() -> bool:
        await drain(queue, archive)
        return sum(committed.values()) == RECORDS

    async with (
        redis_repository(redis_url, archive) as setup,
        Redis.from_url(redis_url, decode_responses=True) as redis,
        running(
            consumer_with(
                policy, setup.repository, queue=queue, connect=memory_connect(broker, policy)
            )
        ),
    ):
        for number in range(RECORDS):  # each in a poll, and so in an entry, of its own
            produce(broker, [spellchecked(batch, f"essay-{number}")])
            await until(partial(is_queued, number + 1))
        first = (await redis.xrange(STREAM, count=1) or [])[0][0]
        arguments = (first if part == "the first" else part for part in loss)
        await redis.execute_command(*arguments)
        await redis.delete(*[key async for key in redis.scan_iter(f"*{batch}*")])

        await until(is_committed)

    assert await count_persisted() == RECORDS
