"""The way from the queue to Postgres, on both real servers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId, BatchUpdate, StepName
from batch_conductor_service.persisting.codec import PAYLOAD_VERSION, decode_update
from batch_conductor_service.persisting.worker import PersistenceWorker, WorkPolicy
from local_stack.postgres import PostgresServer
from service_libs.exceptions import BrokerUnavailableError, StoreUnavailableError
from service_libs.kafka.records import DeadLetter
from service_libs.redis.connections import RedisPolicy
from tests.support.builders import essay_names, evidence, outcome, registration, update
from tests.support.database import migrate, open_engine
from tests.support.pipelines import DEPENDENCIES
from tests.support.repositories import RedisSetup
from tests.support.waiting import eventually

SPELLCHECK = StepName("spellcheck")
POISON = evidence("essay-2", storage_id="nul\x00byte")


class KeptDeadLetters:
    """Dead letters in a list; the broker may be away for some time."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.is_away = False

    async def publish(self, letter: DeadLetter) -> None:
        if self.is_away:
            raise BrokerUnavailableError
        self.letters.append(letter)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def dlq() -> KeptDeadLetters:
    return KeptDeadLetters()


@pytest.fixture
def worker(
    queue: RedisPersistenceQueue,
    archive: PostgresBatchStateRepository,
    dlq: KeptDeadLetters,
    metrics: Metrics,
) -> PersistenceWorker:
    return PersistenceWorker(queue, archive, dlq, metrics, WorkPolicy(max_entries=100))


@contextlib.asynccontextmanager
async def running(worker: PersistenceWorker) -> AsyncIterator[None]:
    """Run the worker, and see it end when asked to."""
    task = asyncio.create_task(worker.run())
    yield
    worker.stop()
    await asyncio.wait_for(task, 10)


async def completed(archive: PostgresBatchStateRepository, batch: str = "batch") -> int:
    steps = (await archive.get_summary(BatchId(batch))).summary.steps
    return steps[SPELLCHECK].completed if SPELLCHECK in steps else 0


async def depth(queue: RedisPersistenceQueue) -> int:
    return (await queue.get_backlog()).depth


async def is_at_most(queue: RedisPersistenceQueue, entries: int) -> bool:
    return await depth(queue) <= entries


async def has_failed(metrics: Metrics) -> bool:
    failures = {"outcome": "failure"}
    return bool(metrics.registry.get_sample_value("bcs_postgres_persistence_total", failures))


def one_by_one(count: int) -> list[BatchUpdate]:
    return [update("batch", evidence(essay)) for essay in essay_names(count)]


async def test_everything_queued_reaches_postgres(
    setup: RedisSetup,
    worker: PersistenceWorker,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    metrics: Metrics,
) -> None:
    await setup.repository.apply(one_by_one(250))
    await worker.drain()

    persisted = metrics.registry.get_sample_value(
        "bcs_postgres_persistence_total", {"outcome": "success"}
    )
    assert (await completed(archive), await depth(queue), persisted) == (250, 0, 250)


async def test_a_running_worker_takes_what_comes(
    setup: RedisSetup,
    worker: PersistenceWorker,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
) -> None:
    async with running(worker):
        await setup.repository.apply(one_by_one(3))
        await eventually(lambda: is_at_most(queue, 0))

    assert await completed(archive) == 3


async def test_a_refused_row_is_dead_lettered_alone(
    setup: RedisSetup,
    worker: PersistenceWorker,
    archive: PostgresBatchStateRepository,
    dlq: KeptDeadLetters,
    queue: RedisPersistenceQueue,
) -> None:
    """One of five hundred, in one entry with others that are good."""
    good = one_by_one(500)
    mixed = update(
        "batch", evidence("essay-1"), POISON, evidence("essay-3"), outcome(), registration(9)
    )
    await setup.repository.apply([*good[:250], mixed, *good[250:]])
    await worker.drain()

    [letter] = dlq.letters
    refused = decode_update(letter.payload or b"")
    assert (refused.evidence, refused.outcomes, refused.registrations) == ((POISON,), (), ())
    assert (letter.base_topic, letter.reason) == ("huleedu.bcs.persistence", "refused_by_database")
    # All but the one that the refused row is about, which may have failed.
    assert (await completed(archive), await depth(queue)) == (499, 0)


async def test_a_schema_that_takes_no_row_dead_letters_none(
    setup: RedisSetup,
    worker: PersistenceWorker,
    dlq: KeptDeadLetters,
    queue: RedisPersistenceQueue,
    migrated_engine: AsyncEngine,
) -> None:
    """A newer version's migration, while this version still runs: its rows are not at fault."""
    async with migrated_engine.begin() as connection:
        await connection.execute(text("ALTER TABLE phase_outcomes ADD COLUMN newer int NOT NULL"))
    await setup.repository.apply([update("batch", outcome()), *one_by_one(20)])

    with pytest.raises(StoreUnavailableError):
        await worker.drain()

    assert (dlq.letters, await depth(queue)) == ([], 21)


async def test_what_cannot_even_be_doubted_in_postgres_holds_up_nothing(
    setup: RedisSetup,
    worker: PersistenceWorker,
    archive: PostgresBatchStateRepository,
    dlq: KeptDeadLetters,
    queue: RedisPersistenceQueue,
) -> None:
    """Its key fits no index, so a note that something was said there is refused, too."""
    long_name = "".join(Random(1).choices("abcdefghij", k=20_000))
    await setup.repository.apply([update("batch", evidence(long_name)), *one_by_one(3)])
    await worker.drain()

    assert [letter.reason for letter in dlq.letters] == ["refused_by_database"]
    assert (await completed(archive), await depth(queue)) == (3, 0)


@pytest.mark.parametrize("payload", [b"\xff\x00", b'{"v": %d}' % PAYLOAD_VERSION])
async def test_bytes_that_are_no_update_are_dead_lettered_as_they_are(
    redis: Redis,
    worker: PersistenceWorker,
    dlq: KeptDeadLetters,
    queue: RedisPersistenceQueue,
    payload: bytes,
) -> None:
    await redis.xadd("bcs:persistence:queue", {"update": payload})
    await worker.drain()

    [letter] = dlq.letters
    assert (letter.payload, letter.reason) == (payload, "unreadable_entry")
    assert await depth(queue) == 0


async def test_what_is_read_while_others_are_written_is_neither_lost_nor_passed_over(
    setup: RedisSetup,
    redis: Redis,
    archive: PostgresBatchStateRepository,
    dlq: KeptDeadLetters,
    queue: RedisPersistenceQueue,
    metrics: Metrics,
) -> None:
    """Two are read at a time, the next two while the first are written."""
    await setup.repository.apply(one_by_one(3))
    await redis.xadd("bcs:persistence:queue", {"update": b"\xff"})
    await setup.repository.apply(one_by_one(6)[3:])

    await PersistenceWorker(queue, archive, dlq, metrics, WorkPolicy(max_entries=4)).drain()

    assert [letter.reason for letter in dlq.letters] == ["unreadable_entry"]
    assert (await completed(archive), await depth(queue)) == (6, 0)


async def test_while_dead_letters_cannot_go_out_the_entry_stays_and_good_rows_go_on(
    setup: RedisSetup,
    worker: PersistenceWorker,
    archive: PostgresBatchStateRepository,
    queue: RedisPersistenceQueue,
    redis_url: str,
) -> None:
    dlq = worker._dlq
    assert isinstance(dlq, KeptDeadLetters)
    dlq.is_away = True
    await setup.repository.apply([update("batch", POISON), *one_by_one(3)])
    await worker.drain()
    while_away = (await completed(archive), await depth(queue))
    dlq.is_away = False
    later = RedisPersistenceQueue(redis_url, RedisPolicy(), worker_name="w2", takeover_seconds=0)
    metrics = Metrics(CollectorRegistry())
    await PersistenceWorker(later, archive, dlq, metrics, WorkPolicy(max_entries=10)).drain()
    await later.close()

    assert while_away == (2, 1)  # all but the one that the refused row is about
    assert (len(dlq.letters), await depth(queue)) == (1, 0)


async def test_postgres_down_loses_nothing_and_dead_letters_nothing(
    setup: RedisSetup,
    own_postgres: PostgresServer,
    dlq: KeptDeadLetters,
    queue: RedisPersistenceQueue,
    metrics: Metrics,
) -> None:
    await migrate(own_postgres.url)
    async with open_engine(own_postgres.url) as engine:
        store = PostgresBatchStateRepository(engine, DEPENDENCIES)
        worker = PersistenceWorker(queue, store, dlq, metrics, WorkPolicy(max_entries=10))
        own_postgres.kill()
        await setup.repository.apply(one_by_one(50))
        with pytest.raises(StoreUnavailableError):
            await worker.drain()
        async with running(worker):
            await eventually(lambda: has_failed(metrics))
            waiting = await depth(queue)
            own_postgres.start()
            # The first ten are still with the first drain.
            await eventually(lambda: is_at_most(queue, 10), timeout_seconds=30)
        later = RedisPersistenceQueue(
            setup_url(setup), RedisPolicy(), worker_name="w2", takeover_seconds=0
        )
        await PersistenceWorker(later, store, dlq, metrics, WorkPolicy(max_entries=10)).drain()
        await later.close()
        counted = await completed(store)

    assert (waiting, counted, dlq.letters, await depth(queue)) == (50, 50, [], 0)


def setup_url(setup: RedisSetup) -> str:
    options = setup.client._redis.connection_pool.connection_kwargs
    return f"redis://{options['host']}:{options['port']}"


async def test_a_wiped_redis_does_not_stop_the_worker(
    setup: RedisSetup,
    worker: PersistenceWorker,
    archive: PostgresBatchStateRepository,
    redis: Redis,
    queue: RedisPersistenceQueue,
) -> None:
    async with running(worker):
        await setup.repository.apply(one_by_one(1))
        await redis.flushall()
        await setup.repository.apply([update("batch", evidence("essay-9"))])
        await eventually(lambda: is_at_most(queue, 0))

    assert await completed(archive) >= 1


async def test_without_redis_the_worker_waits_and_ends_when_asked(
    archive: PostgresBatchStateRepository, dlq: KeptDeadLetters, metrics: Metrics
) -> None:
    policy = RedisPolicy(timeout_seconds=0.5)
    queue = RedisPersistenceQueue(
        "redis://127.0.0.1:1", policy, worker_name="w", takeover_seconds=30
    )
    worker = PersistenceWorker(queue, archive, dlq, metrics, WorkPolicy(max_entries=10))
    async with running(worker):
        await asyncio.sleep(0.3)
    await queue.close()
