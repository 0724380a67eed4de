"""The audit and the repair over a real Redis and a real Postgres."""

import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.domain.drift import BatchComparison, Place
from batch_conductor_service.domain.resolution import judge_step
from batch_conductor_service.implementations.memory.stand_ins import NoOpDlqProducerImpl
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.postgres.inspection import PostgresBatchRecords
from batch_conductor_service.implementations.redis.inspection import RedisBatchCache
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId, BatchUpdate, StepName
from batch_conductor_service.operating.auditing import (
    AuditedPage,
    Auditor,
    AuditPolicy,
    Repairer,
)
from batch_conductor_service.persisting.worker import PersistenceWorker, WorkPolicy
from service_libs.redis.connections import RECOGNISE_SECONDS, RedisCommand, RedisReading
from tests.support.builders import essay_names, evidence, minutes, outcome, registration, update
from tests.support.pipelines import DEPENDENCIES
from tests.support.repositories import RedisSetup

BATCH = BatchId("batch")
SPELLCHECK = StepName("spellcheck")
TEN = update(
    "batch",
    registration(10, essays=essay_names(10)),
    *(evidence(essay, storage_id=f"text-{essay}") for essay in essay_names(10)),
    evidence("essay-1", step="nlp", source="report"),
    outcome("confirms", minutes(-9), step="nlp", fingerprint="report"),
)
TRUTH = "bcs:batch:batch"
COUNTS = "batch:batch:pipeline_state"
DOCUMENT = "bcs:essay_state:batch:essay-1"
FIELDS = ("e:essay-1", "o:nlp:report", f"r:{TEN.registrations[0].fingerprint}")


class Bench:
    """Both stores with all that looks after them."""

    def __init__(
        self,
        setup: RedisSetup,
        archive: PostgresBatchStateRepository,
        queue: RedisPersistenceQueue,
        engine: AsyncEngine,
    ) -> None:
        self.repository, self.archive, self.queue = setup.repository, archive, queue
        cache = RedisBatchCache(setup.client, DEPENDENCIES)
        records = PostgresBatchRecords(engine, archive)
        policy = AuditPolicy(page_size=3, pause_seconds=0.05, retry_seconds=0.2)
        self.auditor = Auditor(cache, records, queue, DEPENDENCIES, policy)
        self.repairer = Repairer(self.auditor, cache, records, setup.repository, policy)

    async def write(self, *updates: BatchUpdate) -> None:
        """Do what consumer and worker do."""
        await self.repository.apply(updates)
        await self.persist()

    async def persist(self) -> None:
        """Bring what is queued to Postgres."""
        metrics = Metrics(CollectorRegistry())
        dlq = NoOpDlqProducerImpl()
        await PersistenceWorker(
            self.queue, self.archive, dlq, metrics, WorkPolicy(max_entries=50)
        ).drain()

    async def pages(self) -> list[AuditedPage]:
        """Return what was found of all batches."""
        return [await self.auditor.audit(some) async for some in self.auditor.list_batches()]

    async def audit(self) -> list[BatchComparison]:
        """Return what differs of all batches."""
        return [one for page in await self.pages() for one in page.differing]

    async def repair(self) -> None:
        """Repair everything, and see that nothing differs then, also once all has arrived."""
        for page in await self.pages():
            assert (await self.repairer.repair(page)).repairable == []
        await self.persist()
        assert [one for page in await self.pages() for one in page.repairable] == []


@pytest.fixture
def bench(
    setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    migrated_engine: AsyncEngine,
) -> Bench:
    """Both stores, empty."""
    return Bench(setup, archive, queue, migrated_engine)


def places(found: list[BatchComparison]) -> set[Place]:
    return {difference.place for one in found for difference in one.differences}


async def test_what_the_service_writes_does_not_differ(bench: Bench) -> None:
    await bench.write(TEN, update("other", evidence("e1")), update("bare", registration(3)))
    await bench.write(update("batch", outcome("refutes", minutes(5))))
    await bench.write(update("batch", evidence("essay-2", "failed", minutes(6))))
    await bench.write(update("batch", evidence("unnamed")))

    assert await bench.audit() == []


async def test_what_is_queued_or_in_a_workers_hands_does_not_differ(bench: Bench) -> None:
    await bench.write(TEN)
    await bench.repository.apply([update("batch", evidence("essay-1", "failed", minutes(1)))])
    in_hand = await bench.queue.read(10, block_seconds=0)
    await bench.repository.apply([update("new", evidence("e1"))])

    assert len(in_hand) == 1
    assert await bench.audit() == []


@pytest.mark.parametrize("lost", [COUNTS, *FIELDS])
async def test_what_is_lost_is_found_and_repaired(bench: Bench, redis: Redis, lost: str) -> None:
    await bench.write(TEN)
    assert await (redis.delete(lost) if lost == COUNTS else redis.hdel(TRUTH, lost)) == 1

    assert places(await bench.audit()) == {Place.REDIS}
    await bench.repair()

    assert await redis.hexists(TRUTH, lost) or await redis.exists(lost)
    assert min([await redis.ttl(key) for key in (TRUTH, COUNTS, DOCUMENT)]) > 0
    assert judge_step((await bench.repository.get_summary(BATCH)).summary, SPELLCHECK).is_complete


@pytest.mark.parametrize("field", FIELDS)
async def test_what_cannot_be_read_is_found_and_repaired(
    bench: Bench, redis: Redis, field: str
) -> None:
    await bench.write(TEN)
    await redis.hset(TRUTH, field, "{")

    assert places(await bench.audit()) == {Place.REDIS}
    await bench.repair()

    assert judge_step((await bench.repository.get_summary(BATCH)).summary, SPELLCHECK).is_complete


async def test_a_document_that_expired_before_its_batch_is_no_difference(
    bench: Bench, redis: Redis
) -> None:
    """A batch that is written for longer than documents live renews only those it touches."""
    await bench.write(TEN)
    assert await redis.delete(DOCUMENT)

    assert await bench.audit() == []


async def test_a_batch_without_its_summary_is_to_be_merged_and_does_not_differ(
    bench: Bench, redis: Redis
) -> None:
    await bench.write(TEN)
    await redis.hdel(TRUTH, "summary")

    page = await bench.auditor.audit([BATCH])

    assert (page.unmerged, page.differing) == ((BATCH,), ())


async def test_counts_that_lie_in_both_hashes_are_found_and_repaired(
    bench: Bench, redis: Redis
) -> None:
    """A false green that Redis itself cannot see."""
    failed = update("batch", evidence("essay-1", "failed", minutes(1)))
    await bench.write(TEN, failed)
    text = str(await redis.hget(TRUTH, "summary"))
    lie = text.replace('"completed":9,"failed":1,', '"completed":10,"failed":0,')
    assert lie != text
    await redis.hset(TRUTH, "summary", lie)
    await redis.hset(COUNTS, "spellcheck", "10")
    assert judge_step((await bench.repository.get_summary(BATCH)).summary, SPELLCHECK).is_complete

    [found] = await bench.audit()
    await bench.repair()

    assert [d.subject for d in found.differences] == ["counts of spellcheck"]
    summary = (await bench.repository.get_summary(BATCH)).summary
    assert summary.steps[SPELLCHECK].failed == 1


async def test_a_write_between_two_commands_of_a_look_is_no_difference(
    bench: Bench, setup: RedisSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands for a page of batches are more than Redis takes in at once."""
    read, essays = setup.client.read, iter(essay_names(10))
    await bench.write(update("batch", evidence(next(essays))))

    async def read_in_two(commands: Sequence[RedisCommand]) -> RedisReading:
        before = await read(commands[:-2])
        await bench.write(update("batch", evidence(next(essays))))
        after = await read(commands[-2:])
        return RedisReading(replies=[*before.replies, *after.replies], server_run=after.server_run)

    monkeypatch.setattr(setup.client, "read", read_in_two)

    assert (await bench.auditor.audit([BATCH])).differing == ()


async def test_rows_that_postgres_lost_are_queued_for_it_again(
    bench: Bench, migrated_engine: AsyncEngine
) -> None:
    await bench.write(TEN)
    async with migrated_engine.begin() as connection:
        await connection.execute(text("DELETE FROM essay_step_evidence WHERE essay_id = 'essay-3'"))
        await connection.execute(text("DELETE FROM batch_registrations"))

    found = await bench.audit()
    await bench.repair()

    assert places(found) == {Place.POSTGRES}
    assert (await bench.archive.load_states([BATCH]))[BATCH].summarise(
        DEPENDENCIES
    ).registered_total == 10


async def test_a_batch_that_postgres_never_got_is_found_in_redis(
    bench: Bench, redis: Redis
) -> None:
    await bench.repository.apply([TEN, update("bare", registration(3))])
    await redis.delete(*[key async for key in redis.scan_iter("bcs:persistence:*")])

    found = await bench.audit()
    await bench.repair()

    assert {one.batch_id for one in found} == {"batch", "bare"}
    assert (await bench.archive.load_states([BATCH]))[BATCH].summarise(
        DEPENDENCIES
    ).registered_total == 10


async def test_counts_that_lie_in_postgres_are_counted_again(
    bench: Bench, migrated_engine: AsyncEngine
) -> None:
    await bench.write(TEN)
    async with migrated_engine.begin() as connection:
        await connection.execute(text("UPDATE processing_pipeline_state SET completed_count = 3"))

    found = await bench.audit()
    await bench.repair()

    assert places(found) == {Place.POSTGRES}


async def test_a_document_of_an_earlier_version_is_queued_for_postgres(
    bench: Bench, redis: Redis
) -> None:
    await redis.set(
        DOCUMENT,
        '{"batch_id": "batch", "completed_steps": ["spellcheck"], "step_metadata": {},'
        ' "created_at": "2025-01-01T00:00:00Z"}',
    )
    await redis.hset("batch:batch:pipeline_state", "spellcheck", "1")

    found = await bench.audit()
    await bench.repair()

    assert places(found) == {Place.POSTGRES}
    assert len((await bench.archive.load_states([BATCH]))[BATCH].as_update().evidence) == 1


async def wipe(redis: Redis) -> None:
    """Have Redis forget every batch, but not what waits for Postgres; return when it is noticed."""
    await redis.delete(*[key async for key in redis.scan_iter("b*:*") if "persistence" not in key])
    await asyncio.sleep(RECOGNISE_SECONDS)


async def test_a_wiped_redis_does_not_differ_and_is_filled_by_a_repair(
    bench: Bench, redis: Redis
) -> None:
    others = [update(f"other-{number}", evidence("e1")) for number in range(8)]
    await bench.write(TEN, *others)
    failed = update("batch", evidence("essay-1", "failed", minutes(1)))
    await bench.repository.apply([failed])
    await wipe(redis)

    assert await bench.audit() == []
    await bench.persist()
    assert sum(len(page.unmerged) for page in await bench.pages()) == 9
    await bench.repair()

    assert await redis.hget(COUNTS, "spellcheck") == "9"
    step = (await bench.repository.get_summary(BATCH)).summary.steps[SPELLCHECK]
    assert (step.completed, step.failed) == (9, 1)


async def lose_what_waits(bench: Bench, redis: Redis) -> AuditedPage:
    """Have only the queue know of a failure; return what an audit finds."""
    await bench.write(TEN)
    await bench.repository.apply([update("batch", evidence("essay-1", "failed", minutes(1)))])
    await wipe(redis)
    [page] = await bench.pages()
    return page


async def test_what_only_the_queue_knows_is_merged_once_it_has_arrived(
    bench: Bench, redis: Redis
) -> None:
    page = await lose_what_waits(bench, redis)

    left, _ = await asyncio.gather(bench.repairer.repair(page), bench.persist())

    assert (page.unmerged, left.repairable) == ((BATCH,), [])
    assert await redis.hget(COUNTS, "spellcheck") == "9"
    assert await bench.audit() == []


async def test_what_does_not_arrive_leaves_its_batch_to_be_merged(
    bench: Bench, redis: Redis
) -> None:
    page = await lose_what_waits(bench, redis)

    assert (await bench.repairer.repair(page)).unmerged == (BATCH,)
    assert not judge_step(
        (await bench.repository.get_summary(BATCH)).summary, SPELLCHECK
    ).is_complete


async def test_a_repair_beside_writers_loses_nothing(bench: Bench, redis: Redis) -> None:
    await bench.write(TEN)
    failures = [update("batch", evidence(essay, "failed", minutes(1))) for essay in essay_names(10)]

    async def write() -> None:
        for one in failures:
            await bench.repository.apply([one])

    async def repair() -> None:
        for _ in range(3):
            await wipe(redis)
            for page in await bench.pages():
                await bench.repairer.repair(page)

    await asyncio.gather(write(), repair(), bench.persist())
    await bench.persist()
    # What is merged before the server is looked at again counts as lost with what was wiped.
    await asyncio.sleep(2 * RECOGNISE_SECONDS)
    await bench.repair()

    summary = (await bench.repository.get_summary(BATCH)).summary
    assert summary.steps[SPELLCHECK].failed == 10


async def test_an_empty_service_has_nothing_to_audit(bench: Bench) -> None:
    assert await bench.audit() == []
    assert (await bench.auditor.audit([BATCH])).unknown == (BATCH,)


async def test_the_queue_is_searched_beyond_its_first_page(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batch_conductor_service.implementations.redis.queue.ENTRIES_PER_LOOK", 2)
    await bench.repository.apply([update(f"b-{number}", evidence("e1")) for number in range(7)])

    queued = await bench.queue.find_queued({BatchId("b-0"), BatchId("b-6")})

    assert [one.batch_id for one in queued] == ["b-0", "b-6"]
