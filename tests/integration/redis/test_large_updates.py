"""Much at once on its way to Postgres: all of it gets there, and little of it is in hand."""

import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from sqlalchemy import text

from batch_conductor_service.implementations.memory.batch_state import MockBatchStateRepositoryImpl
from batch_conductor_service.implementations.memory.stand_ins import NoOpDlqProducerImpl
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId, BatchUpdate, StepName
from batch_conductor_service.persisting.codec import encode_update
from batch_conductor_service.persisting.worker import PersistenceWorker, WorkPolicy
from service_libs.exceptions import StoreUnavailableError
from tests.support.builders import essay_names, evidence, update
from tests.support.database import open_engine
from tests.support.pipelines import DEPENDENCIES
from tests.support.repositories import RedisSetup
from tests.support.waiting import eventually

# Each row takes a millisecond: a thousand of them take longer than a statement may.
SLOW_ROWS = """
    CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END';
    CREATE TRIGGER slow BEFORE INSERT ON essay_step_evidence FOR EACH ROW EXECUTE FUNCTION be_slow()
"""
STATEMENT_SECONDS = 0.5


class SlowStore(MockBatchStateRepositoryImpl):
    """Takes only so many rows at a time, and remembers how many it was given."""

    def __init__(self, capacity: int) -> None:
        super().__init__(DEPENDENCIES)
        self.capacity = capacity
        self.sizes: list[int] = []

    async def apply(self, updates: Sequence[BatchUpdate]) -> Sequence[str | None]:
        self.sizes.append(sum(len(one.evidence) for one in updates))
        if self.sizes[-1] > self.capacity:
            raise StoreUnavailableError
        return await super().apply(updates)

    async def check_schema(self) -> None:
        """Memory has none."""


class WatchingStore(SlowStore):
    """Looks, before each write, at how many entries the worker has in hand."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(capacity=1_000_000)
        self._redis = redis
        self.in_hand: list[int] = []

    async def apply(self, updates: Sequence[BatchUpdate]) -> Sequence[str | None]:
        pending = await self._redis.xpending(keys.PERSISTENCE_QUEUE, keys.PERSISTENCE_GROUP)
        self.in_hand.append(pending["pending"])
        return await super().apply(updates)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def dlq() -> NoOpDlqProducerImpl:
    return NoOpDlqProducerImpl()


def large(batch: str, essays: int) -> BatchUpdate:
    return update(batch, *(evidence(essay) for essay in essay_names(essays)))


async def test_what_times_out_together_gets_there_in_parts(
    setup: RedisSetup,
    queue: RedisPersistenceQueue,
    dlq: NoOpDlqProducerImpl,
    metrics: Metrics,
    migrated_database_url: str,
) -> None:
    await setup.repository.apply([large("one", 900), large("other", 900)])
    async with open_engine(migrated_database_url, timeout_seconds=STATEMENT_SECONDS / 0.8) as slow:
        async with slow.begin() as connection:
            for statement in SLOW_ROWS.rsplit(";", 1):
                await connection.execute(text(statement))
        store = PostgresBatchStateRepository(slow, DEPENDENCIES)
        worker = PersistenceWorker(queue, store, dlq, metrics, WorkPolicy(max_rows=1800))
        running = asyncio.create_task(worker.run())

        async def is_drained() -> bool:
            return (await queue.get_backlog()).depth == 0

        await eventually(is_drained, timeout_seconds=60, what="the end of what was queued")
        worker.stop()
        await running
        steps = [(await store.get_summary(BatchId(b))).summary.steps for b in ("one", "other")]

    failed = metrics.registry.get_sample_value(
        "bcs_postgres_persistence_total", {"outcome": "failure"}
    )
    assert failed
    assert [step[StepName("spellcheck")].completed for step in steps] == [900, 900]


async def test_after_a_failure_less_is_written_at_a_time_and_later_more_again(
    setup: RedisSetup, queue: RedisPersistenceQueue, dlq: NoOpDlqProducerImpl, metrics: Metrics
) -> None:
    store = SlowStore(capacity=100)
    worker = PersistenceWorker(queue, store, dlq, metrics, WorkPolicy(max_rows=800))
    await setup.repository.apply([large("batch", 1000)])
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await worker.drain()
    store.capacity = 800
    await worker.drain()

    assert store.sizes == [800, 400, 200, 100, 200, 400, 300]
    assert (await queue.get_backlog()).depth == 0


async def test_an_update_waits_in_the_queue_until_its_last_part_is_written(
    setup: RedisSetup, queue: RedisPersistenceQueue, dlq: NoOpDlqProducerImpl, metrics: Metrics
) -> None:
    store = SlowStore(capacity=100)
    worker = PersistenceWorker(queue, store, dlq, metrics, WorkPolicy(max_rows=100))
    await setup.repository.apply([large("batch", 250)])
    store.capacity = 60
    with pytest.raises(StoreUnavailableError):
        await worker.drain()  # the first hundred
    with pytest.raises(StoreUnavailableError):
        await worker.drain()  # fifty are written, the next hundred are too many

    assert store.sizes == [100, 50, 100]
    assert (await queue.get_backlog()).depth == 1


async def test_what_is_in_hand_is_bounded_by_bytes_however_many_small_ones_came_before(
    setup: RedisSetup,
    queue: RedisPersistenceQueue,
    dlq: NoOpDlqProducerImpl,
    metrics: Metrics,
    redis: Redis,
) -> None:
    size = len(encode_update(large("batch-1", 500)))
    await setup.repository.apply([large(f"small-{n}", 1) for n in range(30)])
    await setup.repository.apply([large(f"batch-{n}", 500) for n in range(40)])
    store = WatchingStore(redis)
    policy = WorkPolicy(max_entries=200, max_bytes=4 * size, max_rows=1000)

    await PersistenceWorker(queue, store, dlq, metrics, policy).drain()

    # Those of one step that nobody could know to be larger than the ones before; then, two of each
    # transaction, what the limit allows.
    assert max(store.in_hand) <= 30 + 10
    assert max(store.in_hand[20:]) <= 5
    assert (await queue.get_backlog()).depth == 0
