"""A Redis that an earlier version filled, and its replicas that still write beside ours."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
from redis.asyncio import Redis
from redis.exceptions import WatchError

from batch_conductor_service.domain.drift import merged
from batch_conductor_service.domain.resolution import StepProgress, judge_step
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.models import BatchCompletionSummary, BatchId, BatchUpdate, StepName
from common_core.verdicts import Reason
from service_libs.redis.connections import KnownConnection, RedisCommand, RedisPolicy, RedisReading
from tests.support.builders import evidence, minutes, outcome, registration, update
from tests.support.draining import drain
from tests.support.earlier_layouts import (
    BARE,
    FIRST,
    OTHER,
    OUR_TURNS,
    SECOND,
    THEIR_TURNS,
    read_layout,
    read_turns,
    write,
)
from tests.support.pipelines import DEPENDENCIES
from tests.support.repositories import IN_LANES, RedisSetup, redis_repository

BATCH = BatchId("batch")
SPELLCHECK = StepName("spellcheck")
STREAM = "bcs:persistence:queue"
THEIR_KEYS = "bcs:batch:batch:*"
THEIR_WATCH = ("bcs:batch:batch:summary", "batch:batch:pipeline_state")
MORE = update("batch", evidence("essay-4", at=minutes(9)))


def right(*said: BatchUpdate) -> BatchCompletionSummary:
    return merged(said[0].batch_id, *said).summarise(DEPENDENCIES)


async def summary_of(setup: RedisSetup, batch: str = BATCH) -> BatchCompletionSummary:
    return (await setup.repository.get_summary(BatchId(batch))).summary


async def judged(setup: RedisSetup) -> StepProgress:
    return judge_step(await summary_of(setup), SPELLCHECK)


async def ask(setup: RedisSetup) -> BatchUpdate:
    await setup.repository.get_summary(BATCH)
    return update("batch")


async def apply(setup: RedisSetup) -> BatchUpdate:
    await setup.repository.apply([MORE])
    return MORE


async def apply_a_report(setup: RedisSetup) -> BatchUpdate:
    said = update("batch", outcome("refutes", minutes(9)), registration(5, minutes(9)))
    await setup.repository.apply([said])
    return said


class TestOfWhatTheyLeft:
    """The layout as it was with Postgres behind it; what is not there yet is in the queue."""

    @pytest.fixture(autouse=True)
    async def layout(self, redis: Redis, archive: PostgresBatchStateRepository) -> None:
        await archive.apply([FIRST])
        await redis.xgroup_create(
            "bcs:persistence:queue", "bcs:persistence:workers", "0", mkstream=True
        )
        await redis.set("bcs:persistence:epoch", "theirs")
        await write(redis, read_layout("with_archive"))

    @pytest.mark.parametrize("policy", [None, IN_LANES], ids=["by-watch", "in-lanes"])
    @pytest.mark.parametrize("touch", [ask, apply, apply_a_report])
    async def test_all_of_it_is_imported_at_once_and_their_keys_are_deleted(
        self,
        redis_url: str,
        archive: PostgresBatchStateRepository,
        redis: Redis,
        policy: None,
        touch: Callable[[RedisSetup], Awaitable[BatchUpdate]],
    ) -> None:
        async with redis_repository(redis_url, archive, policy=policy) as setup:
            said = await touch(setup)

            found = await summary_of(setup)
            known = merged(BATCH, FIRST, SECOND, said)
            assert found.steps == known.summarise(DEPENDENCIES).steps
            assert (await setup.repository.get_state(BATCH)).essays() == known.essays()
            assert [key async for key in redis.scan_iter(THEIR_KEYS)] == []
            assert (await summary_of(setup, "other")).steps == right(OTHER).steps
            assert (await summary_of(setup, "bare")).registered_total == 3

    async def test_it_is_whole_when_our_worker_has_brought_their_queue_to_postgres(
        self, setup: RedisSetup, archive: PostgresBatchStateRepository, queue: RedisPersistenceQueue
    ) -> None:
        """Of what waits, an answer could miss a failure that their Redis has lost."""
        before = await summary_of(setup)
        await drain(queue, archive)

        assert not before.is_whole
        assert await summary_of(setup) == right(FIRST, SECOND)
        assert (await archive.get_summary(BATCH)).summary == right(FIRST, SECOND)
        for said in (OTHER, BARE):
            assert await summary_of(setup, said.batch_id) == right(said)
        assert (await queue.get_backlog()).depth == 0

    async def test_our_workers_take_over_what_theirs_had_in_hand_and_none_is_skipped(
        self, redis_url: str, redis: Redis
    ) -> None:
        queue = RedisPersistenceQueue(
            redis_url, RedisPolicy(), worker_name="ours", takeover_seconds=0
        )
        before = await queue.get_watermark()
        await redis.xreadgroup("bcs:persistence:workers", "theirs", {STREAM: ">"}, count=1)
        taken = await queue.read(9, block_seconds=0)
        await queue.acknowledge([entry.entry_id for entry in taken])
        rest = await queue.read(9, block_seconds=0)
        after = await queue.get_watermark()
        await queue.close()

        assert [entry.update for entry in (*taken, *rest)] == [SECOND, OTHER, BARE]
        assert len(taken) == 1
        assert before.generation == after.generation
        assert before.generation.endswith(":theirs")

    async def test_documents_keep_the_time_they_were_made(
        self, setup: RedisSetup, redis: Redis
    ) -> None:
        made = str(await redis.get("bcs:essay_state:batch:essay-1")).partition('"created_at":')[2]
        again = update("batch", evidence("essay-1", "failed", minutes(9)))
        await setup.repository.apply([again])

        assert made[:28] in str(await redis.get("bcs:essay_state:batch:essay-1"))


class TestWithoutAnArchive:
    """What they left is all there is."""

    @pytest.fixture(autouse=True)
    async def layout(self, redis: Redis) -> None:
        await write(redis, read_layout("without_archive"))

    @pytest.mark.parametrize("lost", ["", "bcs:batch:batch:essays", "bcs:batch:batch:expected"])
    async def test_it_is_imported_whole(self, redis_url: str, redis: Redis, lost: str) -> None:
        """Without their index the documents are looked for."""
        await redis.delete(lost)
        async with redis_repository(redis_url) as setup:
            assert await summary_of(setup) == right(FIRST, SECOND)

    @pytest.mark.parametrize(
        "lost",
        [
            "bcs:essay_state:batch:essay-3",
            "bcs:batch:batch:outcomes",
            "bcs:batch:batch:registrations",
        ],
    )
    async def test_where_a_part_is_lost_it_is_not_whole(
        self, redis_url: str, redis: Redis, lost: str
    ) -> None:
        """It may have been the failure."""
        assert await redis.delete(lost)
        async with redis_repository(redis_url) as setup:
            seen = [await judged(setup)]
            await setup.repository.apply([MORE])
            await setup.repository.apply([update("batch", outcome("confirms", minutes(9)))])
            seen.append(await judged(setup))

        assert {one.reason for one in seen} == {Reason.STATE_UNKNOWN}

    async def test_all_of_it_is_queued_when_there_is_an_archive(
        self, setup: RedisSetup, archive: PostgresBatchStateRepository, queue: RedisPersistenceQueue
    ) -> None:
        await setup.repository.get_summary(BATCH)
        await drain(queue, archive)

        assert (await archive.get_summary(BATCH)).summary == right(FIRST, SECOND)


@pytest.mark.parametrize("drains", [True, False], ids=["drained", "waiting"])
@pytest.mark.parametrize("policy", [None, IN_LANES], ids=["by-watch", "in-lanes"])
async def test_replicas_of_both_versions_write_in_turns(
    redis_url: str,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
    policy: None,
    *,
    drains: bool,
) -> None:
    said: list[BatchUpdate] = []
    async with redis_repository(redis_url, archive, policy=policy) as ours:
        for commands, theirs, our in zip(read_turns(), THEIR_TURNS, OUR_TURNS, strict=True):
            await write(redis, commands)
            said.append(theirs)
            assert (await summary_of(ours)).steps == right(*said).steps
            await ours.repository.apply([our])
            said.append(our)
            assert (await summary_of(ours)).steps == right(*said).steps
            assert [key async for key in redis.scan_iter(THEIR_KEYS)] == []
            if drains:
                await drain(queue, archive)
                assert await summary_of(ours) == right(*said)
        await drain(queue, archive)

        assert await summary_of(ours) == right(*said)
        assert (await archive.get_summary(BATCH)).summary == right(*said)


@pytest.mark.parametrize("policy", [None, IN_LANES], ids=["by-watch", "in-lanes"])
@pytest.mark.parametrize("reads", [1, 2, 3])
async def test_what_they_write_between_our_reading_and_our_write_is_seen(
    redis_url: str,
    archive: PostgresBatchStateRepository,
    redis: Redis,
    policy: None,
    reads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, _ = read_turns()
    async with redis_repository(redis_url, archive, policy=policy) as setup:
        await write(redis, first)
        ask, asked = setup.client.ask, list[int]()

        async def ask_and_be_overtaken(
            connection: KnownConnection, commands: Sequence[RedisCommand]
        ) -> RedisReading:
            reading = await ask(connection, commands)
            asked.append(len(commands))
            if len(asked) == reads:
                await write(redis, second)
            return reading

        monkeypatch.setattr(setup.client, "ask", ask_and_be_overtaken)
        await setup.repository.apply([OUR_TURNS[0]])

        assert len(asked) > reads
        known = right(*THEIR_TURNS[:2], OUR_TURNS[0])
        assert (await summary_of(setup)).steps == known.steps


@pytest.mark.parametrize("said", [BARE, update("bare", evidence("essay-1"))], ids=["bare", "essay"])
@pytest.mark.parametrize("policy", [None, IN_LANES], ids=["by-watch", "in-lanes"])
async def test_our_write_undoes_a_transaction_of_theirs_that_has_read_before_it(
    redis_url: str,
    archive: PostgresBatchStateRepository,
    redis: Redis,
    policy: None,
    said: BatchUpdate,
) -> None:
    """Though none of their keys is there; else they would write a batch without what we say."""
    async with (
        redis_repository(redis_url, archive, policy=policy) as setup,
        redis.pipeline() as pipe,
    ):
        await pipe.watch(*(key.replace("batch:batch", "batch:bare") for key in THEIR_WATCH))
        await setup.repository.apply([said])
        pipe.multi()
        await pipe.set("theirs", "written")
        with pytest.raises(WatchError):
            await pipe.execute()
