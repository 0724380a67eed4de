"""What Redis loses, wholly or in part, must never make a batch look more complete than it is."""

from collections.abc import Mapping, Sequence

import pytest
from redis.asyncio import Redis

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.resolution import judge_step
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.queue import (
    RedisPersistenceQueue,
    WaitingEntries,
)
from batch_conductor_service.models import BatchId, BatchUpdate, StepName
from common_core.verdicts import Reason
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import RedisPolicy
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
TRUTH = "bcs:batch:batch"
COUNTS = "batch:batch:pipeline_state"
KEYS = ("bcs:essay_state:batch:essay-1", COUNTS, TRUTH)
FIELDS = ("summary", "e:essay-1", "o:nlp:nlp", f"r:{NINE_OF_TEN.registrations[0].fingerprint}")
ONE_SUCCEEDED = update(
    "batch",
    outcome("confirms", minutes(1), total=1, fingerprint="one"),
    evidence("essay-1", at=minutes(1), source="one"),
)


class UnreachableArchive:
    """Postgres, down."""

    async def load_states(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, BatchState]:
        raise StoreUnavailableError(f"{len(batch_ids)} batches cannot be loaded")


async def forget_batch(redis: Redis) -> None:
    """Delete all that Redis has of the batch, but for the queue."""
    assert await redis.delete(*[key async for key in redis.scan_iter("*batch:batch*")])
    await redis.delete(*[key async for key in redis.scan_iter("bcs:essay_state:*")])


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


@pytest.mark.parametrize("lost", KEYS)
async def test_without_an_archive_a_lost_key_loses_no_failure(
    redis_url: str, redis: Redis, lost: str
) -> None:
    """With the total unknown an outcome would complete the step, but for the failure."""
    async with redis_repository(redis_url) as setup:
        await setup.repository.apply([update("batch", evidence("essay-1", "failed"))])
        assert await redis.delete(lost) == 1
        await setup.repository.apply([ONE_SUCCEEDED])
        await setup.repository.apply([ONE_SUCCEEDED])
        summary = (await setup.repository.get_summary(BATCH)).summary

    assert judge_step(summary, SPELLCHECK).reason is Reason.FAILED_ESSAYS


@pytest.mark.parametrize("policy", [None, IN_LANES], ids=["by-watch", "in-lanes"])
async def test_without_an_archive_what_cannot_be_read_keeps_the_step_running(
    redis_url: str, redis: Redis, policy: RedisPolicy | None
) -> None:
    """It is lost for good, and it may have been the failure."""
    async with redis_repository(redis_url, policy=policy) as setup:
        await setup.repository.apply([update("batch", evidence("essay-1", "failed"))])
        await redis.hset(TRUTH, "e:essay-1", "of another version")
        await setup.repository.apply([ONE_SUCCEEDED])
        await setup.repository.apply([ONE_SUCCEEDED])
        await setup.repository.apply([update("batch", evidence("essay-1"))])
        summary = (await setup.repository.get_summary(BATCH)).summary

    assert judge_step(summary, SPELLCHECK).reason is Reason.STATE_UNKNOWN


async def test_a_batch_that_was_not_whole_stays_so_when_the_archive_is_turned_off(
    redis_url: str,
) -> None:
    async with redis_repository(redis_url, UnreachableArchive()) as cut_off:
        await cut_off.repository.apply([ONE_SUCCEEDED])
    async with redis_repository(redis_url) as setup:
        await setup.repository.apply([ONE_SUCCEEDED])
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
    await forget_batch(redis)

    waiting = (await setup.repository.get_summary(BATCH)).summary
    await drain(queue, archive)
    drained = (await setup.repository.get_summary(BATCH)).summary

    assert judge_step(waiting, SPELLCHECK).reason is Reason.STATE_UNKNOWN
    assert judge_step(drained, SPELLCHECK).reason is Reason.FAILED_ESSAYS


@pytest.mark.parametrize("changed", [COUNTS, KEYS[0]])
async def test_what_is_written_for_others_is_not_believed(
    setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
    changed: str,
) -> None:
    await setup.repository.apply([NINE_OF_TEN])
    await drain(queue, archive)
    if changed == COUNTS:
        await redis.hset(changed, "spellcheck", 10)
    else:
        tenth = str(await redis.get(changed)).replace("essay-1", "essay-10")
        await redis.set("bcs:essay_state:batch:essay-10", tenth)
    await setup.repository.apply([update("batch", evidence("essay-1"))])

    summary = (await setup.repository.get_summary(BATCH)).summary

    assert summary.steps[SPELLCHECK].completed == 9


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("text", ["", "[]", "{", '{"v": 1, "steps": 5}', "5", "null", "\xff"])
async def test_a_field_that_cannot_be_read_is_taken_from_postgres(
    setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
    field: str,
    text: str,
) -> None:
    failure = update("batch", evidence("essay-1", "failed", minutes(1)))
    report = update("batch", outcome("confirms", minutes(2), step="nlp", fingerprint="other"))
    model = BatchState(BATCH)
    for said in (NINE_OF_TEN, failure, report):
        model.merge(said)
    await setup.repository.apply([NINE_OF_TEN])
    await drain(queue, archive)
    assert await redis.hset(TRUTH, field, text) == 0
    await setup.repository.apply([failure])
    await setup.repository.apply([report])
    await drain(queue, archive)

    assert (await setup.repository.get_summary(BATCH)).summary == model.summarise(DEPENDENCIES)
    assert (await setup.repository.get_state(BATCH)).essays() == model.essays()


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
            essays = (await setup.repository.get_state(BATCH)).essays()

        assert reading.is_degraded
        assert reading.summary.steps[SPELLCHECK].completed == 9
        assert len(essays) == 9

    @pytest.mark.parametrize("waited", [True, False])
    async def test_what_waited_when_redis_was_last_seen_keeps_postgres_from_pruning(
        self, archive: PostgresBatchStateRepository, redis_url: str, *, waited: bool
    ) -> None:
        ten = update("batch", registration(10), *(evidence(essay) for essay in essay_names(10)))
        await persist(archive, ten)
        known = WaitingEntries()
        queue = RedisPersistenceQueue(
            redis_url, RedisPolicy(), worker_name="w", takeover_seconds=30, waiting=known
        )
        if waited:
            async with redis_repository(redis_url, archive) as before:
                await before.repository.apply([update("batch", evidence("essay-1", "failed"))])
        await queue.get_backlog()
        async with redis_repository("redis://127.0.0.1:1", archive, waiting=known) as setup:
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
    text = str(await redis.hget(TRUTH, "summary"))
    server_run = str(await redis.hget("bcs:server_run", "name"))
    await redis.hset(TRUTH, "summary", text.replace(server_run, "an earlier one"))

    summary = (await setup.repository.get_summary(BATCH)).summary

    assert (summary.steps[SPELLCHECK].completed, summary.steps[SPELLCHECK].failed) == (8, 1)
    assert server_run in str(await redis.hget(TRUTH, "summary"))
