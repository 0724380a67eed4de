"""What changes between two tries of a transaction, and what was written while no archive was."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random

import pytest
from redis.asyncio import Redis

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.drift import merged
from batch_conductor_service.domain.resolution import StepProgress, judge_step
from batch_conductor_service.implementations.memory.batch_state import MockBatchStateRepositoryImpl
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.implementations.redis.retention import RedisUnarchivedBatches
from batch_conductor_service.models import BatchId, BatchUpdate, StepName
from batch_conductor_service.persisting.archiving import UnarchivedSweeper
from common_core.verdicts import Reason
from service_libs.redis.connections import RedisPolicy
from tests.support.builders import essay_names, evidence, minutes, outcome, registration, update
from tests.support.draining import drain
from tests.support.pipelines import DEPENDENCIES
from tests.support.repositories import IN_LANES, RedisSetup, redis_repository

BATCH = BatchId("batch")
SPELLCHECK = StepName("spellcheck")
TRUTH = "bcs:batch:batch"
BATCHES = 24
ROUNDS = 12


def complete(batch: str) -> BatchUpdate:
    essays = essay_names(3)
    return update(batch, registration(3, essays=essays), *(evidence(e) for e in essays))


def failure(batch: str) -> BatchUpdate:
    return update(batch, evidence("essay-2", "failed", minutes(1)))


async def judged(setup: RedisSetup, batch: str = BATCH) -> StepProgress:
    return judge_step((await setup.repository.get_summary(BatchId(batch))).summary, SPELLCHECK)


class OvertakenArchive:
    """Postgres, where a failure arrives just after it was read; and the transaction is lost."""

    def __init__(self, archive: PostgresBatchStateRepository, redis: Redis) -> None:
        self.reads = 0
        self._archive = archive
        self._redis = redis

    async def load_states(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, BatchState]:
        states = await self._archive.load_states(batch_ids)
        self.reads += 1
        if self.reads == 1:
            await self._archive.apply([failure(BATCH)])
            await self._redis.hset(TRUTH, "changed", "by another")
            await self._redis.delete(TRUTH)
        return states


@pytest.mark.parametrize("policy", [None, IN_LANES], ids=["by-watch", "in-lanes"])
@pytest.mark.parametrize("writes", [True, False], ids=["written", "asked"])
async def test_each_try_hears_the_archive_again(
    redis_url: str,
    archive: PostgresBatchStateRepository,
    redis: Redis,
    policy: RedisPolicy | None,
    *,
    writes: bool,
) -> None:
    await archive.apply([complete(BATCH)])
    overtaken = OvertakenArchive(archive, redis)
    async with redis_repository(redis_url, overtaken, policy=policy) as setup:
        if writes:
            await setup.repository.apply([update("batch", evidence("essay-1"))])

        assert (await judged(setup)).reason is Reason.FAILED_ESSAYS
        assert overtaken.reads == 2


class Load:
    """Two replicas that write copies while batches are deleted, asked for, and fail one by one."""

    def __init__(
        self,
        replicas: tuple[RedisSetup, RedisSetup],
        archive: PostgresBatchStateRepository,
        queue: RedisPersistenceQueue,
        redis: Redis,
    ) -> None:
        self.one, self.other = replicas
        self.batches = [f"batch-{number}" for number in range(BATCHES)]
        self.failed: list[str] = []
        self._archive, self._queue, self._redis = archive, queue, redis
        self._random = Random(7)

    async def run(self) -> None:
        """Do all of it at once."""
        await self.one.repository.apply([complete(batch) for batch in self.batches])
        await self.drain()
        writers = self.repeat(self.one), self.repeat(self.other)
        await asyncio.gather(*writers, self.delete(), self.fail(), self.look())
        await self.drain()

    async def drain(self) -> None:
        """Bring all that is queued to Postgres."""
        while (await self._queue.get_backlog()).depth:
            await drain(self._queue, self._archive)

    async def repeat(self, replica: RedisSetup) -> None:
        copies = [update(batch, evidence("essay-1")) for batch in self.batches]
        for _ in range(ROUNDS):
            await replica.repository.apply(copies)

    async def delete(self) -> None:
        for _ in range(ROUNDS * 6):
            some = self._random.sample(self.batches, 4)
            await self._redis.delete(*(f"bcs:batch:{batch}" for batch in some))

    async def fail(self) -> None:
        for batch in self.batches:
            await self.one.repository.apply([failure(batch)])
            self.failed.append(batch)
            await drain(self._queue, self._archive)

    async def look(self) -> None:
        while len(self.failed) < BATCHES:
            for batch in self.failed[-3:]:
                assert not (await judged(self.other, batch)).is_complete, batch
            await asyncio.sleep(0)


async def test_batches_that_are_deleted_under_load_never_lose_a_failure(
    redis_url: str,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
) -> None:
    async with (
        redis_repository(redis_url, archive) as one,
        redis_repository(redis_url, archive) as other,
    ):
        load = Load((one, other), archive, queue, redis)
        await load.run()

        assert [(await judged(other, batch)).failed for batch in load.batches] == [1] * BATCHES


async def ask(setup: RedisSetup) -> None:
    await setup.repository.get_summary(BATCH)


async def apply(setup: RedisSetup) -> None:
    await setup.repository.apply([update("batch", evidence("essay-1"))])


async def leave_alone(setup: RedisSetup) -> None:
    """Nobody asks, and nothing more is said: the background task sees to it."""
    await UnarchivedSweeper(RedisUnarchivedBatches(setup.client), setup.repository).sweep()


class OvertakenRepository(MockBatchStateRepositoryImpl):
    """With Postgres; after its first write another replica, without Postgres, writes a failure."""

    def __init__(self, with_archive: RedisSetup, without: RedisSetup) -> None:
        super().__init__(DEPENDENCIES)
        self._with_archive, self._without = with_archive.repository, without.repository
        self._is_overtaken = False

    async def apply(self, updates: Sequence[BatchUpdate]) -> Sequence[str | None]:
        entry_ids = await self._with_archive.apply(updates)
        if not self._is_overtaken:
            self._is_overtaken = True
            await self._without.apply([failure(BATCH)])
        return entry_ids


@dataclass(frozen=True)
class Stores:
    """Both stores, and repositories on them."""

    url: str
    archive: PostgresBatchStateRepository
    queue: RedisPersistenceQueue
    redis: Redis
    policy: RedisPolicy | None

    def open(self, *, with_archive: bool = True) -> AbstractAsyncContextManager[RedisSetup]:
        archive = self.archive if with_archive else None
        return redis_repository(self.url, archive, policy=self.policy)

    async def drain(self) -> None:
        await drain(self.queue, self.archive)


@pytest.fixture(params=[None, IN_LANES], ids=["by-watch", "in-lanes"])
def stores(
    request: pytest.FixtureRequest,
    redis_url: str,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis: Redis,
) -> Stores:
    """Both stores, empty."""
    return Stores(redis_url, archive, queue, redis, request.param)


class TestOfWhatWasWrittenWithoutAnArchive:
    """Its offsets are committed: what Redis alone has, nobody reads again."""

    @pytest.mark.parametrize("before", [True, False], ids=["known-before", "new"])
    @pytest.mark.parametrize(
        "touch", [ask, apply, leave_alone], ids=["asked", "written", "left-alone"]
    )
    async def test_all_of_it_is_queued_when_there_is_one(
        self,
        stores: Stores,
        touch: Callable[[RedisSetup], Awaitable[None]],
        *,
        before: bool,
    ) -> None:
        report = update("batch", outcome("partial", minutes(1), step="nlp", total=3))
        said = [complete(BATCH), failure(BATCH), report]
        async with stores.open() as setup:
            if before:
                await setup.repository.apply(said[:1])
                await stores.drain()
            async with stores.open(with_archive=False) as without:
                for one in said[1:] if before else said:
                    assert await without.repository.apply([one]) == [None]
            assert await stores.redis.smembers("bcs:unarchived") == {"batch"}

            await touch(setup)
            assert await stores.redis.smembers("bcs:unarchived") == set()
            await stores.drain()
            await stores.redis.flushall()

            known = merged(BATCH, *said).summarise(DEPENDENCIES)
            assert (await setup.repository.get_summary(BATCH)).summary == known
            assert not (await judged(setup)).is_complete

    async def test_what_is_written_without_one_beside_the_sweep_is_queued_too(
        self, redis_url: str, archive: PostgresBatchStateRepository, queue: RedisPersistenceQueue
    ) -> None:
        async with (
            redis_repository(redis_url, archive) as setup,
            redis_repository(redis_url) as without,
            Redis.from_url(redis_url, decode_responses=True) as redis,
        ):
            await without.repository.apply([complete(BATCH)])
            await redis.sadd("bcs:unarchived", "gone")
            overtaken = OvertakenRepository(setup, without)
            await UnarchivedSweeper(RedisUnarchivedBatches(setup.client), overtaken).sweep()
            assert await redis.smembers("bcs:unarchived") == set()
            await drain(queue, archive)
            await redis.flushall()

            assert (await judged(setup)).reason is Reason.FAILED_ESSAYS

    async def test_it_is_queued_once(
        self, redis_url: str, setup: RedisSetup, queue: RedisPersistenceQueue
    ) -> None:
        async with redis_repository(redis_url) as without:
            await without.repository.apply([complete(BATCH)])
        await setup.repository.get_summary(BATCH)
        await setup.repository.get_summary(BATCH)
        await setup.repository.apply([failure(BATCH)])

        queued = [entry.update for entry in await queue.read(9, block_seconds=0)]

        assert [len(one.evidence) for one in queued if one] == [3, 1]
