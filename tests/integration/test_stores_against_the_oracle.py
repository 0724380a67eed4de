"""The stores against the oracle: whatever is delivered in whatever order, the answers are its own.

Many histories share a store, each as a batch of its own, and their records are mixed in polls.
"""

import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from service_libs.redis.connections import RedisPolicy
from tests.support.answers import Answering, differences, renamed, without_logs
from tests.support.draining import drain
from tests.support.oracle.histories import History, make_history
from tests.support.oracle.run import described
from tests.support.oracle.sending import at
from tests.support.oracle.statements import Record
from tests.support.pipelines import DEPENDENCIES
from tests.support.repositories import IN_LANES, redis_repository

HISTORIES = 12  # in one store at a time
ROUNDS = range(30)
POSTGRES_ROUNDS = range(100, 115)
EXAMPLES = 15  # for Hypothesis, each of so many histories


def mixed_histories(rng: Random) -> list[History]:
    """Return histories of batches that nobody else has; some are read long after they were sent."""
    prefix = uuid.uuid4().hex
    made = [renamed(make_history(rng), f"{prefix}-{number}") for number in range(HISTORIES)]
    return [_read_late(each) if rng.random() < 0.5 else each for each in made]


def polls(rng: Random, histories: Sequence[History]) -> list[list[Record]]:
    """Return the records of all histories in any order, some of them twice, cut into polls."""
    records = [record for history in histories for record in history.records]
    records += [record for record in records if rng.random() < 0.2]
    rng.shuffle(records)
    cut = []
    while records:
        size = rng.randint(1, 30)
        cut.append(records[:size])
        del records[:size]
    return cut


def _read_late(history: History) -> History:
    late = at(200)
    records = (replace(each, consumed_ms=late) for each in history.records)
    return replace(history, records=tuple(records))


@asynccontextmanager
async def open_queue(redis_url: str) -> AsyncIterator[RedisPersistenceQueue]:
    queue = RedisPersistenceQueue(
        redis_url, RedisPolicy(), worker_name="worker-1", takeover_seconds=30
    )
    try:
        yield queue
    finally:
        await queue.close()


async def persist(queue: RedisPersistenceQueue, archive: PostgresBatchStateRepository) -> None:
    """Bring everything that waits to Postgres: of what is lost meanwhile nobody can be sure."""
    while (await queue.get_backlog()).depth:
        await drain(queue, archive)


async def find_differences(service: Answering, histories: Sequence[History]) -> list[str]:
    """Tell each history that is answered otherwise than by the oracle."""
    told = []
    for history in histories:
        found = differences(history, await service.ask(history.batch, history.essays_total))
        if found:
            told.append("\n".join([str(found), *described(history)]))
    return told


@pytest.fixture(autouse=True)
def _no_logs() -> Iterator[None]:
    with without_logs():
        yield


@pytest.mark.parametrize("seed", POSTGRES_ROUNDS)
async def test_postgres_answers_as_the_oracle_does(migrated_engine: AsyncEngine, seed: int) -> None:
    rng = Random(seed)
    histories = mixed_histories(rng)
    service = Answering(PostgresBatchStateRepository(migrated_engine, DEPENDENCIES))

    for poll in polls(rng, histories):
        await service.consume(poll)

    assert not await find_differences(service, histories)


@pytest.mark.parametrize("seed", ROUNDS)
async def test_redis_with_postgres_behind_it_answers_as_the_oracle_does(
    redis_url: str, migrated_engine: AsyncEngine, seed: int
) -> None:
    policy = IN_LANES if seed % 2 else None

    assert not await find_differences_of_both(redis_url, migrated_engine, Random(seed), policy)


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.randoms(use_true_random=False), st.sampled_from([None, IN_LANES]))
async def test_no_histories_that_hypothesis_finds_are_answered_otherwise(
    redis_url: str, migrated_engine: AsyncEngine, rng: Random, policy: RedisPolicy | None
) -> None:
    assert not await find_differences_of_both(redis_url, migrated_engine, rng, policy)


async def find_differences_of_both(
    redis_url: str, engine: AsyncEngine, rng: Random, policy: RedisPolicy | None
) -> list[str]:
    """Tell what Redis with Postgres behind it answers otherwise, and then what Postgres does.

    Redis is emptied now and then, when Postgres has everything, and once more at the end.
    """
    histories = mixed_histories(rng)
    archive = PostgresBatchStateRepository(engine, DEPENDENCIES)
    async with (
        Redis.from_url(redis_url) as redis,
        open_queue(redis_url) as queue,
        redis_repository(redis_url, archive, policy=policy) as setup,
    ):
        service = Answering(setup.repository)
        for poll in polls(rng, histories):
            await service.consume(poll)
            if rng.random() < 0.3:
                await persist(queue, archive)
                await redis.flushall()
        await persist(queue, archive)
        found = await find_differences(service, histories)
        await redis.flushall()
        return found + await find_differences(service, histories)
