"""Batches that nobody has heard of: asked of Postgres once, and kept for a short time."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from redis.asyncio import Redis

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.models import BatchCompletionSummary, BatchId, StepName
from tests.support.builders import evidence, registration, update
from tests.support.repositories import redis_repository

BATCH = BatchId("batch")
KEY = "bcs:batch:batch"
CALLERS = 30


class CountedArchive:
    """Postgres, and how often it was asked."""

    def __init__(self, archive: PostgresBatchStateRepository) -> None:
        self.asked = 0
        self._archive = archive

    async def load_states(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, BatchState]:
        self.asked += 1
        return await self._archive.load_states(batch_ids)


@pytest.fixture
def counted(archive: PostgresBatchStateRepository) -> CountedArchive:
    return CountedArchive(archive)


async def test_many_that_ask_at_once_ask_postgres_once(
    redis_url: str, counted: CountedArchive
) -> None:
    async with redis_repository(redis_url, counted) as setup:
        ask = setup.repository.get_summary
        readings = await asyncio.gather(*(ask(BATCH) for _ in range(CALLERS)))

        empty = BatchCompletionSummary(batch_id=BATCH)
        assert [reading.summary for reading in readings] == [empty] * CALLERS
        assert counted.asked == 1


async def test_for_a_minute_no_replica_asks_again(
    redis_url: str, counted: CountedArchive, redis: Redis
) -> None:
    for _ in range(2):
        async with redis_repository(redis_url, counted) as setup:
            await setup.repository.get_summary(BATCH)
            await setup.repository.get_summary(BATCH)
    assert counted.asked == 1
    assert 0 < await redis.ttl(KEY) <= 60

    await redis.delete(KEY)  # as after that minute
    async with redis_repository(redis_url, counted) as setup:
        await setup.repository.get_summary(BATCH)
    assert counted.asked == 2


async def test_the_first_event_makes_it_known_and_it_lives_as_long_as_any(
    redis_url: str, counted: CountedArchive, redis: Redis
) -> None:
    async with redis_repository(redis_url, counted) as setup:
        await setup.repository.get_summary(BATCH)
        await setup.repository.apply([update("batch", evidence("essay-1"), registration(3))])
        summary = (await setup.repository.get_summary(BATCH)).summary

    assert summary.registered_total == 3
    assert summary.steps[StepName("spellcheck")].completed == 1
    assert await redis.ttl(KEY) > 500


async def test_it_is_not_queued_and_nothing_is_written_for_others(
    redis_url: str, counted: CountedArchive, redis: Redis
) -> None:
    async with redis_repository(redis_url, counted) as setup:
        await setup.repository.get_summary(BATCH)

    assert {key async for key in redis.scan_iter("*")} == {KEY, "bcs:server_run"}


async def test_what_postgres_gets_of_it_meanwhile_is_known_after_a_minute(
    redis_url: str, archive: PostgresBatchStateRepository, counted: CountedArchive, redis: Redis
) -> None:
    """As from a Redis that has failed over to a replica with the queue, but without the batch."""
    async with redis_repository(redis_url, counted) as setup:
        await setup.repository.get_summary(BATCH)
        await archive.apply([update("batch", evidence("essay-1", "failed"))])
        await redis.delete(KEY)
        summary = (await setup.repository.get_summary(BATCH)).summary

    assert summary.steps[StepName("spellcheck")].failed == 1
