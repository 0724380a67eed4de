"""What Redis loses while a write is between two of its reads, or what the counts of it say."""

from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from batch_conductor_service.domain.completeness import StepProgress, judge_step
from batch_conductor_service.exceptions import StoreUnavailableError
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.connections import RedisPolicy
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.models import BatchId, BatchUpdate, StepName
from batch_conductor_service.port_values import RedisCommand
from tests.support.builders import essay_names, evidence, minutes, outcome, registration, update
from tests.support.draining import drain
from tests.support.repositories import IN_LANES, RedisSetup, redis_repository

BATCH = BatchId("batch")
SPELLCHECK = StepName("spellcheck")
OUTCOMES = "bcs:batch:batch:outcomes"
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


@pytest.mark.parametrize("policy", [RedisPolicy(), IN_LANES], ids=["watch", "script"])
async def test_outcomes_lost_after_they_were_counted_are_taken_from_postgres(
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
        read, lost = setup.client.read, list[int]()

        async def read_and_lose(commands: Sequence[RedisCommand]) -> list[object]:
            replies = await read(commands)
            if not lost:
                lost.append(await redis.delete(OUTCOMES))
            return replies

        monkeypatch.setattr(setup.client, "read", read_and_lose)
        await setup.repository.apply([ANOTHER_REPORT])

        assert lost == [1]
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
    [(field, text)] = (await redis.hgetall(OUTCOMES)).items()
    await redis.hset(OUTCOMES, field, str(text).replace("refutes", "of another version"))

    await setup.repository.apply([ANOTHER_REPORT])

    assert not (await judged(setup)).is_complete


@pytest.mark.parametrize("lost", [OUTCOMES, "bcs:essay_state:batch:essay-1"])
async def test_the_script_adds_no_difference_to_a_batch_that_lost_something_since_it_was_read(
    redis_url: str,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
    lost: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    again = update("batch", evidence("essay-1"))
    async with redis_repository(redis_url, archive, policy=IN_LANES) as setup:
        await setup.repository.apply([completed(9, 10)])
        await setup.repository.apply([ANOTHER_REPORT])
        await drain(queue, archive)
        run_script = setup.client.run_script

        async def lose_and_run(
            name: str, keys: Sequence[str], arguments: Sequence[str | bytes | int]
        ) -> object:
            assert await redis.delete(lost)
            return await run_script(name, keys, arguments)

        monkeypatch.setattr(setup.client, "run_script", lose_and_run)
        with pytest.raises(StoreUnavailableError):
            await setup.repository.apply([again])
        monkeypatch.undo()
        await setup.repository.apply([again])

        progress = await judged(setup)
        assert (progress.completed, progress.is_complete) == (9, False)
        assert await redis.hget("bcs:batch:batch:summary", "outcomes") == "1"


async def test_a_batch_is_in_doubt_while_the_counts_of_what_waits_are_lost(
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

    in_doubt = await judged(setup)
    await queue.get_watermark()
    assert await redis.hgetall("bcs:persistence:waiting") == {"batch": "1", "*": "1"}
    await drain(queue, archive)

    assert not in_doubt.is_complete
    assert (await judged(setup)).failed == 1


async def test_counts_of_what_was_lost_from_the_queue_are_made_anew(
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
    await redis.delete("bcs:batch:batch:summary")
    assert (await judged(setup)).is_complete
