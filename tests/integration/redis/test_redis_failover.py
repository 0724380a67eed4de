"""Redis changes its role under open connections: a failover behind one address, in order."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis

from batch_conductor_service.domain.resolution import judge_step
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.queue import (
    RedisPersistenceQueue,
    WaitingEntries,
)
from batch_conductor_service.models import BatchId, StepName
from local_stack.ports import LOCALHOST
from local_stack.valkey import ValkeyServer
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import RedisPolicy
from tests.support.builders import essay_names, evidence, minutes, registration, update
from tests.support.draining import drain
from tests.support.faults.proxy import FaultyProxy, ProxyThread
from tests.support.replication import follow, promote
from tests.support.repositories import RedisSetup, redis_probe, redis_repository
from tests.support.waiting import eventually

COMPLETE = update(
    "batch", registration(3, essays=essay_names(3)), *(evidence(essay) for essay in essay_names(3))
)
FAILURE = update("batch", evidence("essay-1", "failed", minutes(9)))


@pytest.fixture
def proxies() -> Iterator[ProxyThread]:
    thread = ProxyThread()
    yield thread
    thread.close()


@dataclass
class Pair:
    """Two servers, and one address that leads to the first until it is told otherwise."""

    first: ValkeyServer
    second: ValkeyServer
    address: FaultyProxy

    @property
    def url(self) -> str:
        return f"redis://{LOCALHOST}:{self.address.port}/0"


@pytest.fixture
def pair(tmp_path: Path, proxies: ProxyThread) -> Iterator[Pair]:
    first, second = ValkeyServer(tmp_path / "first"), ValkeyServer(tmp_path / "second")
    address = FaultyProxy(first.port)
    proxies.add(address)
    for server in (first, second):
        server.start()
    try:
        yield Pair(first, second, address)
    finally:
        for server in (first, second):
            server.kill()


@pytest.fixture
def known() -> WaitingEntries:
    return WaitingEntries()


@pytest.fixture
async def failover_queue(pair: Pair, known: WaitingEntries) -> AsyncIterator[RedisPersistenceQueue]:
    queue = RedisPersistenceQueue(
        pair.url, RedisPolicy(), worker_name="w", takeover_seconds=30, waiting=known
    )
    yield queue
    await queue.close()


async def lose_a_failure(
    pair: Pair,
    setup: RedisSetup,
    queue: RedisPersistenceQueue,
    archive: PostgresBatchStateRepository,
) -> None:
    """Promote the second before a failure reaches the first; then demote the first, in order."""
    await setup.repository.apply([COMPLETE])
    await drain(queue, archive)
    await follow(pair.second, pair.first)
    await promote(pair.second)
    await setup.repository.apply([FAILURE])
    await drain(queue, archive)
    assert not await is_complete(setup)
    await follow(pair.first, pair.second)


async def is_complete(setup: RedisSetup) -> bool:
    summary = (await setup.repository.get_summary(BatchId("batch"))).summary
    return judge_step(summary, StepName("spellcheck")).is_complete


async def test_a_primary_that_was_demoted_is_left_and_not_believed(
    pair: Pair,
    known: WaitingEntries,
    failover_queue: RedisPersistenceQueue,
    archive: PostgresBatchStateRepository,
) -> None:
    probe = redis_probe(pair.url)
    async with redis_repository(pair.url, archive, waiting=known) as setup:
        await probe.ping()
        await failover_queue.get_backlog()
        assert known.is_empty
        await lose_a_failure(pair, setup, failover_queue, archive)
        pair.address.forward_to(pair.second.port)

        assert not await is_complete(setup)
        for ask in (probe.ping, failover_queue.get_backlog):
            with pytest.raises(StoreUnavailableError, match="replica"):
                await ask()
        assert not known.is_empty

        async def gets_on() -> bool:
            try:
                await setup.repository.apply([update("other", evidence("essay-1"))])
                await drain(failover_queue, archive)
                await probe.ping()
            except StoreUnavailableError:
                return False
            return True

        await eventually(gets_on, timeout_seconds=5, what="a write at the new primary")
        assert not await is_complete(setup)
    await probe.close()
    async with Redis.from_url(pair.second.url) as redis:
        assert await redis.exists("bcs:batch:other")


async def test_a_primary_that_was_a_replica_in_between_is_merged_with_postgres(
    pair: Pair,
    known: WaitingEntries,
    failover_queue: RedisPersistenceQueue,
    archive: PostgresBatchStateRepository,
) -> None:
    async with redis_repository(pair.url, archive, waiting=known) as setup:
        await lose_a_failure(pair, setup, failover_queue, archive)
        await promote(pair.first)

        assert not await is_complete(setup)
