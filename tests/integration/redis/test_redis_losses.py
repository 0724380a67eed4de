"""What Redis loses, wholly or in part, must never make a batch look more complete than it is."""

from collections.abc import Mapping, Sequence

import pytest
from redis.asyncio import Redis

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.completeness import Reason, judge_step
from batch_conductor_service.exceptions import StoreUnavailableError
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.connections import RedisPolicy
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.models import BatchId, BatchUpdate, StepName
from tests.support.builders import essay_names, evidence, minutes, outcome, registration, update
from tests.support.draining import drain
from tests.support.pipelines import DEPENDENCIES
from tests.support.repositories import IN_LANES, RedisSetup, redis_repository

BATCH = BatchId("batch")
SPELLCHECK = StepName("spellcheck")
NINE_OF_TEN = update(
    "batch",
    registration(10, essays=essay_names(10)),
    *(evidence(essay) for essay in essay_names(9)),
    outcome("confirms", minutes(-9), step="nlp", fingerprint="nlp"),
)
KEYS = (
    "bcs:essay_state:batch:essay-1",
    "batch:batch:pipeline_state",
    "bcs:batch:batch:summary",
    "bcs:batch:batch:essays",
    "bcs:batch:batch:expected",
    "bcs:batch:batch:outcomes",
    "bcs:batch:batch:registrations",
)


class UnreachableArchive:
    """Postgres, down."""

    async def load_states(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, BatchState]:
        raise StoreUnavailableError(f"{len(batch_ids)} batches cannot be loaded")


async def persist(archive: PostgresBatchStateRepository, *updates: BatchUpdate) -> None:
    """Have Postgres hold what Redis may never have heard of."""
    await archive.apply(updates)


@pytest.mark.parametrize("lost", KEYS)
@pytest.mark.parametrize(
    "replayed",
    [NINE_OF_TEN, update("batch", evidence("essay-1")), update("batch", outcome("confirms"))],
    ids=["everything", "one-essay", "an-outcome"],
)
async def test_a_replay_over_a_lost_key_counts_nothing_twice(
    setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
    lost: str,
    replayed: BatchUpdate,
) -> None:
    model = BatchState(BATCH)
    for said in (NINE_OF_TEN, replayed):
        model.merge(said)
    await setup.repository.apply([NINE_OF_TEN])
    await drain(queue, archive)

    assert await redis.delete(lost) == 1
    await setup.repository.apply([replayed])

    summary = (await setup.repository.get_summary(BATCH)).summary
    assert summary == model.summarise(DEPENDENCIES)
    assert not judge_step(summary, SPELLCHECK).is_complete


@pytest.mark.parametrize("lost", KEYS)
async def test_without_an_archive_a_lost_key_never_completes_a_step(
    redis_url: str, redis: Redis, lost: str
) -> None:
    async with redis_repository(redis_url) as setup:
        await setup.repository.apply([NINE_OF_TEN])
        await redis.delete(lost)
        await setup.repository.apply([update("batch", evidence("essay-1"))])
        summary = (await setup.repository.get_summary(BATCH)).summary

    assert not judge_step(summary, SPELLCHECK).is_complete


async def test_without_an_archive_a_lost_failure_keeps_the_step_running(
    redis_url: str, redis: Redis
) -> None:
    """With the total unknown an outcome would complete the step, but for the failure it lost."""
    failed, success = evidence("essay-1", "failed"), outcome("confirms", minutes(1))
    async with redis_repository(redis_url) as setup:
        await setup.repository.apply([update("batch", failed)])
        await redis.delete(KEYS[0])
        await setup.repository.apply([update("batch", success)])
        await setup.repository.apply([update("batch", success)])
        summary = (await setup.repository.get_summary(BATCH)).summary

    assert judge_step(summary, SPELLCHECK).reason is Reason.STATE_UNKNOWN


async def test_what_still_waits_for_the_archive_is_not_taken_for_nothing(
    setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
) -> None:
    """The failure is in the queue alone; when it is in Postgres, the batch is whole again."""
    ten = update("batch", registration(10), *(evidence(essay) for essay in essay_names(10)))
    await setup.repository.apply([ten, update("batch", evidence("essay-3", "failed", minutes(1)))])
    await persist(archive, ten)
    await redis.delete(*KEYS, *(f"bcs:essay_state:batch:{essay}" for essay in essay_names(10)))

    waiting = (await setup.repository.get_summary(BATCH)).summary
    await drain(queue, archive)
    drained = (await setup.repository.get_summary(BATCH)).summary

    assert judge_step(waiting, SPELLCHECK).reason is Reason.STATE_UNKNOWN
    assert judge_step(drained, SPELLCHECK).reason is Reason.FAILED_ESSAYS


async def test_the_script_does_not_believe_a_batch_that_lost_a_document(
    redis_url: str, redis: Redis
) -> None:
    async with redis_repository(redis_url, policy=IN_LANES) as setup:
        await setup.repository.apply([update("batch", evidence("essay-1", "failed"))])
        await redis.delete(KEYS[0])
        await setup.repository.apply([update("batch", outcome("confirms", minutes(1)))])
        summary = (await setup.repository.get_summary(BATCH)).summary

    assert judge_step(summary, SPELLCHECK).reason is Reason.STATE_UNKNOWN


@pytest.mark.parametrize("broken", KEYS[1:3])
async def test_hashes_that_disagree_are_not_believed(
    setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
    broken: str,
) -> None:
    await setup.repository.apply([NINE_OF_TEN])
    await drain(queue, archive)
    field = "spellcheck" if broken == KEYS[1] else "completed:spellcheck"
    await redis.hset(broken, field, 10)

    summary = (await setup.repository.get_summary(BATCH)).summary

    assert summary.steps[SPELLCHECK].completed == 9


@pytest.mark.parametrize("text", ["", "[]", "{", '{"step_metadata": 5}', "\xff"])
async def test_a_document_that_cannot_be_read_is_made_anew(
    setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
    text: str,
) -> None:
    await setup.repository.apply([NINE_OF_TEN])
    await drain(queue, archive)
    await redis.set(KEYS[0], text)
    await setup.repository.apply([update("batch", evidence("essay-1", "failed", minutes(1)))])

    step = (await setup.repository.get_summary(BATCH)).summary.steps[SPELLCHECK]

    assert (step.completed, step.failed) == (8, 1)


async def test_a_wiped_redis_answers_from_postgres_and_knows_the_batch_again(
    setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
) -> None:
    ten = update("batch", registration(10), *(evidence(essay) for essay in essay_names(10)))
    await setup.repository.apply([ten])
    await drain(queue, archive)
    await redis.flushall()

    reading = await setup.repository.get_summary(BATCH)

    assert judge_step(reading.summary, SPELLCHECK).is_complete
    assert await redis.hgetall("batch:batch:pipeline_state") == {"spellcheck": "10"}


async def test_a_batch_that_only_postgres_knows_is_merged_with_what_comes(
    setup: RedisSetup, archive: PostgresBatchStateRepository
) -> None:
    await persist(archive, NINE_OF_TEN)
    await setup.repository.apply([update("batch", evidence("essay-10"))])

    summary = (await setup.repository.get_summary(BATCH)).summary

    assert judge_step(summary, SPELLCHECK).is_complete


async def test_while_the_archive_cannot_be_asked_nothing_is_pruned(
    redis_url: str,
    setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
) -> None:
    """It might know of a failure. Later it is asked again."""
    ten = update("batch", registration(10), *(evidence(essay) for essay in essay_names(10)))
    async with redis_repository(redis_url, UnreachableArchive()) as cut_off:
        await cut_off.repository.apply([ten])
        blind = (await cut_off.repository.get_summary(BATCH)).summary
    await drain(queue, archive)
    whole = (await setup.repository.get_summary(BATCH)).summary

    assert judge_step(blind, SPELLCHECK).reason is Reason.STATE_UNKNOWN
    assert judge_step(whole, SPELLCHECK).is_complete


async def test_an_archive_that_goes_away_does_not_make_known_batches_unknown(
    redis_url: str, setup: RedisSetup
) -> None:
    await setup.repository.apply([NINE_OF_TEN])
    async with redis_repository(redis_url, UnreachableArchive()) as later:
        await later.repository.apply([update("batch", evidence("essay-10"))])
        summary = (await later.repository.get_summary(BATCH)).summary

    assert judge_step(summary, SPELLCHECK).is_complete


class TestWithoutRedis:
    """Nothing listens on port 1."""

    async def test_postgres_answers_and_the_answer_is_degraded(
        self, archive: PostgresBatchStateRepository
    ) -> None:
        await persist(archive, NINE_OF_TEN)
        async with redis_repository("redis://127.0.0.1:1", archive) as setup:
            reading = await setup.repository.get_summary(BATCH)
            essays = await setup.repository.get_essays(BATCH)

        assert reading.is_degraded
        assert reading.summary.steps[SPELLCHECK].completed == 9
        assert len(essays) == 9

    @pytest.mark.parametrize("waited", [True, False])
    async def test_what_waited_when_redis_was_last_seen_keeps_postgres_from_pruning(
        self, archive: PostgresBatchStateRepository, redis_url: str, *, waited: bool
    ) -> None:
        ten = update("batch", registration(10), *(evidence(essay) for essay in essay_names(10)))
        await persist(archive, ten)
        queue = RedisPersistenceQueue(
            redis_url, RedisPolicy(), worker_name="w", takeover_seconds=30
        )
        if waited:
            async with redis_repository(redis_url, archive) as before:
                await before.repository.apply([update("batch", evidence("essay-1", "failed"))])
        await queue.get_backlog()
        async with redis_repository("redis://127.0.0.1:1", archive, queue=queue) as setup:
            summary = (await setup.repository.get_summary(BATCH)).summary
        await queue.close()

        assert judge_step(summary, SPELLCHECK).is_complete is not waited

    async def test_without_postgres_there_is_no_answer(self) -> None:
        async with redis_repository("redis://127.0.0.1:1", UnreachableArchive()) as setup:
            with pytest.raises(StoreUnavailableError):
                await setup.repository.get_summary(BATCH)

    async def test_without_an_archive_there_is_no_answer(self) -> None:
        async with redis_repository("redis://127.0.0.1:1") as setup:
            with pytest.raises(StoreUnavailableError):
                await setup.repository.get_summary(BATCH)

    async def test_an_update_is_refused_whole(self) -> None:
        async with redis_repository("redis://127.0.0.1:1") as setup:
            with pytest.raises(StoreUnavailableError):
                await setup.repository.apply([NINE_OF_TEN])


async def test_what_an_earlier_run_of_the_server_left_is_merged_with_postgres(
    setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
) -> None:
    """A server that lost the end of its file agrees with itself, and knows no failure."""
    failure = update("batch", evidence("essay-1", "failed", minutes(1)))
    await setup.repository.apply([NINE_OF_TEN])
    await drain(queue, archive)
    await persist(archive, failure)
    await redis.hset("bcs:batch:batch:summary", "life", "an earlier one")

    summary = (await setup.repository.get_summary(BATCH)).summary

    assert (summary.steps[SPELLCHECK].completed, summary.steps[SPELLCHECK].failed) == (8, 1)
    assert await redis.hget("bcs:batch:batch:summary", "life") == setup.client.life
