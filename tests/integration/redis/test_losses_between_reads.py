"""What Redis loses while a write is between two of its reads, or what the counts of it say."""

from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from batch_conductor_service.domain.resolution import StepProgress, judge_step
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.models import BatchId, BatchUpdate, StepName
from service_libs.redis.connections import KnownConnection, RedisCommand, RedisPolicy, RedisReading
from tests.support.builders import essay_names, evidence, minutes, outcome, registration, update
from tests.support.draining import drain
from tests.support.repositories import IN_LANES, RedisSetup, redis_repository

BATCH = BatchId("batch")
SPELLCHECK = StepName("spellcheck")
TRUTH = "bcs:batch:batch"
REFUTATION = update("batch", outcome("refutes", minutes(5)))
ANOTHER_REPORT = update("batch", outcome("confirms", minutes(6), step="nlp", fingerprint="nlp"))


def completed(count: int, total: int) -> BatchUpdate:
    return update(
        "batch",
        registration(total, essays=essay_names(total)),
        *(evidence(essay) for essay in essay_names(count)),
    )


async def judged(setup: RedisSetup) -> StepProgress:
    return judge_step((await setup.repository.get_summary(BATCH)).summary, SPELLCHECK)


class LossAfterFirstRead:
    """Deletes a batch when a transaction has read of it once, and before it reads again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, setup: RedisSetup, redis: Redis) -> None:
        self.lost = 0
        self._redis = redis
        self._ask = setup.client.ask
        monkeypatch.setattr(setup.client, "ask", self._read_and_lose)

    async def _read_and_lose(
        self, connection: KnownConnection, commands: Sequence[RedisCommand]
    ) -> RedisReading:
        reading = await self._ask(connection, commands)
        if not self.lost:
            self.lost = await self._redis.delete(TRUTH)
        return reading


@pytest.mark.parametrize("policy", [RedisPolicy(), IN_LANES], ids=["by-watch", "in-lanes"])
async def test_a_batch_lost_after_it_was_read_first_is_taken_from_postgres(
    redis_url: str,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
    policy: RedisPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with redis_repository(redis_url, archive, policy=policy) as setup:
        await setup.repository.apply([completed(3, 3)])
        await setup.repository.apply([REFUTATION])
        await drain(queue, archive)
        loss = LossAfterFirstRead(monkeypatch, setup, redis)
        await setup.repository.apply([ANOTHER_REPORT])

        assert loss.lost == 1
        assert not (await judged(setup)).is_complete


async def test_an_outcome_that_cannot_be_read_is_taken_from_postgres(
    setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
) -> None:
    await setup.repository.apply([completed(3, 3)])
    await setup.repository.apply([REFUTATION])
    await drain(queue, archive)
    field = f"o:spellcheck:{REFUTATION.outcomes[0].fingerprint}"
    text = str(await redis.hget(TRUTH, field))
    assert await redis.hset(TRUTH, field, text.replace("refutes", "of another version")) == 0

    await setup.repository.apply([ANOTHER_REPORT])

    assert not (await judged(setup)).is_complete


@pytest.mark.parametrize("policy", [RedisPolicy(), IN_LANES], ids=["by-watch", "in-lanes"])
async def test_no_difference_is_added_to_a_batch_that_was_lost_since_it_was_read(
    redis_url: str,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
    policy: RedisPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    again = update("batch", evidence("essay-1", at=minutes(1)))
    async with redis_repository(redis_url, archive, policy=policy) as setup:
        await setup.repository.apply([completed(9, 10)])
        await setup.repository.apply([ANOTHER_REPORT])
        await drain(queue, archive)
        loss = LossAfterFirstRead(monkeypatch, setup, redis)
        await setup.repository.apply([again])

        progress = await judged(setup)
        assert loss.lost == 1
        assert (progress.completed, progress.is_complete) == (9, False)
        assert "o:nlp:nlp" in await redis.hkeys(TRUTH)


async def test_a_batch_is_not_whole_while_the_counts_of_what_waits_are_lost(
    setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
) -> None:
    await setup.repository.apply([completed(3, 3)])
    await drain(queue, archive)
    await setup.repository.apply([update("batch", evidence("essay-1", "failed", minutes(9)))])
    await redis.delete("bcs:persistence:waiting")
    await redis.delete(*[key async for key in redis.scan_iter("*batch:*")])

    meanwhile = await judged(setup)
    await queue.get_watermark()
    assert await redis.hgetall("bcs:persistence:waiting") == {"batch": "1", "*": "1"}
    await drain(queue, archive)

    assert not meanwhile.is_complete
    assert (await judged(setup)).failed == 1


async def test_counts_of_what_was_lost_from_the_queue_are_made_again(
    setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
) -> None:
    await queue.get_watermark()
    await setup.repository.apply([completed(3, 3)])
    await redis.delete("bcs:persistence:queue")
    await setup.repository.apply([update("other", evidence("essay-1"))])
    await queue.get_watermark()
    assert await redis.hgetall("bcs:persistence:waiting") == {"other": "1", "*": "1"}
    await setup.repository.apply([completed(3, 3)])  # as the replay does that follows

    await drain(queue, archive)

    assert await redis.hgetall("bcs:persistence:waiting") == {}
    assert await redis.delete(TRUTH)
    assert (await judged(setup)).is_complete
