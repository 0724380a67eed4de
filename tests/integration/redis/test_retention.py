"""Batches that nothing was said of for long are deleted, on both real servers."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.postgres.retention import PostgresIdleBatches
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.implementations.redis.retention import RedisPassingBatches
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId, StepName
from batch_conductor_service.operating.retention import Retention
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import RedisPolicy
from service_libs.retention import RetentionPolicy
from tests.support.builders import evidence, outcome, registration, update
from tests.support.draining import drain
from tests.support.repositories import RedisSetup, redis_repository
from tests.support.waiting import eventually

DAYS = 400
TABLES = (
    "essay_step_evidence",
    "phase_outcomes",
    "batch_registrations",
    "processing_pipeline_state",
    "batch_activity",
)


class Bench:
    """The task over both servers, and a way to let time pass."""

    def __init__(
        self,
        setup: RedisSetup,
        queue: RedisPersistenceQueue,
        archive: PostgresBatchStateRepository,
        engine: AsyncEngine,
    ) -> None:
        self.repository, self.engine = setup.repository, engine
        self.queue, self.archive = queue, archive
        self.registry = CollectorRegistry()
        self._metrics = Metrics(self.registry)
        self.passing = RedisPassingBatches(setup.client)

    async def sweep(self, *, days: int = DAYS, passing: RedisPassingBatches | None = None) -> None:
        policy = RetentionPolicy(days=days, at_a_time=2, pause_seconds=0)
        idle = PostgresIdleBatches(self.engine)
        await Retention(policy, idle, passing or self.passing, self._metrics).sweep()

    @property
    def deleted(self) -> float:
        """How many batches were counted as deleted."""
        return self.registry.get_sample_value("bcs_batches_deleted_total") or 0

    async def persist(self) -> None:
        """Bring what is queued to Postgres."""
        await drain(self.queue, self.archive)

    async def say(self, *batches: str) -> None:
        """Say something of each kind of the batches, and bring it to Postgres."""
        said = (evidence("e1"), outcome(), registration(1))
        await self.repository.apply([update(batch, *said) for batch in batches])
        await self.persist()

    async def let_pass(self, days: float, *batches: str) -> None:
        """Have nothing been said of these batches for so long."""
        moved = text(
            "UPDATE batch_activity SET last_said_at = now() - make_interval(secs => :seconds)"
            " WHERE batch_id = ANY (:batches)"
        )
        async with self.engine.begin() as connection:
            parameters = {"seconds": days * 86400, "batches": list(batches)}
            await connection.execute(moved, parameters)

    async def known(self, batch: str) -> set[str]:
        """Return the tables that have rows of the batch."""
        found = set()
        async with self.engine.connect() as connection:
            for table in TABLES:
                counted = text(f"SELECT count(*) FROM {table} WHERE batch_id = :batch")  # noqa: S608 - a name of ours
                if await connection.scalar(counted, {"batch": batch}):
                    found.add(table)
        return found


@pytest.fixture
async def bench(
    setup: RedisSetup,
    queue: RedisPersistenceQueue,
    archive: PostgresBatchStateRepository,
    migrated_engine: AsyncEngine,
) -> Bench:
    await queue.get_watermark()  # makes the queue
    return Bench(setup, queue, archive, migrated_engine)


async def test_only_what_is_idle_for_longer_is_deleted_and_all_of_it(bench: Bench) -> None:
    batches = [f"old-{n}" for n in range(5)]
    await bench.say(*batches, "young")
    await bench.let_pass(DAYS + 1, *batches)
    await bench.let_pass(DAYS - 1, "young")

    await bench.sweep()

    assert [await bench.known(batch) for batch in batches] == [set()] * 5
    assert await bench.known("young") == set(TABLES)
    assert bench.deleted == 5


async def test_what_redis_still_had_of_it_goes_too(bench: Bench, redis: Redis) -> None:
    """Or Redis would go on to say what nobody could merge with anything."""
    await bench.say("old")
    await bench.let_pass(DAYS + 1, "old")

    await bench.sweep()

    assert [key async for key in redis.scan_iter("*old*")] == []
    assert (await bench.repository.get_summary(BatchId("old"))).summary.steps == {}


async def test_what_waits_in_the_queue_keeps_its_batch_and_only_that(bench: Bench) -> None:
    await bench.say("waits", "old-1", "old-2")
    await bench.let_pass(DAYS + 2, "waits")
    await bench.let_pass(DAYS + 1, "old-1", "old-2")
    await bench.repository.apply([update("waits", evidence("e2"))])

    await bench.sweep()
    before = (await bench.known("waits"), bench.deleted)
    await bench.persist()
    await bench.sweep()

    assert before == (set(TABLES), 2)
    assert (await bench.known("waits"), bench.deleted) == (set(TABLES), 2)


async def test_counts_that_are_not_the_queues_prove_that_nothing_waits_to_nobody(
    bench: Bench, redis: Redis
) -> None:
    await bench.say("old")
    await bench.let_pass(DAYS + 1, "old")
    await bench.repository.apply([update("old", evidence("e2"))])
    await redis.delete(keys.PERSISTENCE_WAITING)

    await bench.sweep()

    assert await bench.known("old") == set(TABLES)


async def test_a_copy_of_what_is_known_is_something_said(bench: Bench) -> None:
    await bench.say("repeated")
    await bench.let_pass(DAYS + 1, "repeated")
    await bench.archive.apply([update("repeated", evidence("e1"))])

    await bench.sweep()

    assert await bench.known("repeated") == set(TABLES)


async def test_a_write_that_came_first_is_seen_behind_its_lock(bench: Bench) -> None:
    """The deletion has found the batch idle already, and waits for the lock."""
    await bench.say("old")
    await bench.let_pass(DAYS + 1, "old")
    lock = text("SELECT pg_advisory_xact_lock(hashtextextended('old', 0) & 1023)")
    said = text("UPDATE batch_activity SET last_said_at = now() WHERE batch_id = 'old'")
    async with bench.engine.connect() as writer:
        await writer.execute(lock)
        sweeping = asyncio.create_task(bench.sweep())
        async with bench.engine.connect() as onlooker:
            await _until_somebody_waits_for_a_lock(onlooker)
        await writer.execute(said)
        await writer.commit()
    await sweeping

    assert await bench.known("old") == set(TABLES)


async def test_what_is_written_during_a_deletion_is_written_to_nothing(
    bench: Bench, setup: RedisSetup
) -> None:
    """An event came between the question whether any waits, and the end of the deletion.

    Both stores then know that event and no other: neither has what the other lacks.
    """
    await bench.say("old")
    await bench.let_pass(DAYS + 1, "old")

    class HearingBatches(RedisPassingBatches):
        async def forget(self, batch_id: BatchId) -> None:
            await super().forget(batch_id)
            if not bench.deleted:
                await bench.repository.apply([update("old", evidence("e9"))])

    await bench.sweep(passing=HearingBatches(setup.client))
    await bench.persist()

    for repository in (bench.archive, bench.repository):
        summary = (await repository.get_summary(BatchId("old"))).summary
        assert summary.steps[StepName("spellcheck")].completed == 1
        assert summary.registered_total is None


async def test_nothing_is_deleted_when_batches_are_kept_for_ever(bench: Bench) -> None:
    await bench.say("old")
    await bench.let_pass(10 * DAYS, "old")

    await bench.sweep(days=0)

    assert await bench.known("old") == set(TABLES)


async def test_without_redis_nothing_is_deleted(bench: Bench) -> None:
    await bench.say("old")
    await bench.let_pass(DAYS + 1, "old")
    policy = RedisPolicy(timeout_seconds=0.5)

    async with redis_repository("redis://127.0.0.1:1", policy=policy) as absent:
        with pytest.raises(StoreUnavailableError):
            await bench.sweep(passing=RedisPassingBatches(absent.client))

    assert await bench.known("old") == set(TABLES)


async def _until_somebody_waits_for_a_lock(onlooker: AsyncConnection) -> None:
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    async def is_so() -> bool:
        return bool(await onlooker.scalar(waiting))

    await eventually(is_so, what="a deletion that waits")
