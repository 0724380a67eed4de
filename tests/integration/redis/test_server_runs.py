"""Whose data a connection leads to: when batches are merged with Postgres again, and when not."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.models import BatchId, StepName
from local_stack.ports import LOCALHOST
from local_stack.valkey import ValkeyServer
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis import connections
from service_libs.redis.connections import RedisPolicy
from tests.support.builders import evidence, minutes, update
from tests.support.faults.proxy import FaultyProxy, ProxyThread
from tests.support.replication import follow, promote
from tests.support.repositories import RedisSetup, redis_repository
from tests.support.waiting import eventually

BATCH = BatchId("batch")
SAID = update("batch", evidence("essay-1"))
FAILURE = update("batch", evidence("essay-1", "failed", minutes(1)))


class CountedArchive:
    """Postgres, and how often it was asked."""

    def __init__(self, archive: PostgresBatchStateRepository) -> None:
        self.asked = 0
        self._archive = archive

    async def load_states(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, BatchState]:
        self.asked += 1
        return await self._archive.load_states(batch_ids)


@pytest.fixture
def counted(archive: PostgresBatchStateRepository) -> CountedArchive:
    return CountedArchive(archive)


@pytest.fixture
def second_redis(tmp_path: Path) -> Iterator[ValkeyServer]:
    """Another server."""
    server = ValkeyServer(tmp_path / "second")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def address(own_redis: ValkeyServer) -> Iterator[FaultyProxy]:
    """An address that leads to the first server until it is told otherwise."""
    thread, proxy = ProxyThread(), FaultyProxy(own_redis.port)
    thread.add(proxy)
    yield proxy
    thread.close()


@pytest.fixture
async def own_setup(address: FaultyProxy, counted: CountedArchive) -> AsyncIterator[RedisSetup]:
    """A repository behind the address, that has merged a batch."""
    url = f"redis://{LOCALHOST}:{address.port}/0"
    async with redis_repository(url, counted) as opened:
        await opened.repository.apply([SAID])
        assert counted.asked == 1
        yield opened


@pytest.fixture
def _asks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "RECOGNISE_SECONDS", 0.0)


async def touch(setup: RedisSetup) -> None:
    """Ask for the batch and write to it."""
    await setup.repository.get_summary(BATCH)
    await setup.repository.apply([SAID])


@pytest.mark.usefixtures("_asks_each_time")
async def test_replicas_that_come_and_go_make_no_batch_be_merged_again(
    own_setup: RedisSetup,
    counted: CountedArchive,
    own_redis: ValkeyServer,
    second_redis: ValkeyServer,
) -> None:
    """The first gives the primary a new replication id; that changes nothing of its data."""
    queue = RedisPersistenceQueue(
        own_redis.url, RedisPolicy(), worker_name="w", takeover_seconds=30
    )
    before = await queue.get_watermark()
    for _ in range(2):
        await follow(second_redis, own_redis)
        await touch(own_setup)
        await promote(second_redis)
        await touch(own_setup)
    after = await queue.get_watermark()
    await queue.close()

    assert counted.asked == 1
    assert after.generation == before.generation


async def test_after_a_failover_batches_are_merged_again(
    own_setup: RedisSetup,
    counted: CountedArchive,
    archive: PostgresBatchStateRepository,
    own_redis: ValkeyServer,
    second_redis: ValkeyServer,
    address: FaultyProxy,
) -> None:
    await follow(second_redis, own_redis)
    own_redis.kill()
    await promote(second_redis)
    address.forward_to(second_redis.port)
    await archive.apply([FAILURE])

    await eventually(lambda: is_merged(own_setup), what="an answer with what Postgres has")
    assert counted.asked >= 2


async def test_after_a_restart_batches_are_merged_again(
    own_setup: RedisSetup,
    counted: CountedArchive,
    archive: PostgresBatchStateRepository,
    own_redis: ValkeyServer,
) -> None:
    """The server has all that it had, and cannot know that."""
    async with Redis.from_url(own_redis.url) as redis:
        await redis.config_set("appendfsync", "always")
        await redis.set("last", "")
    own_redis.kill()
    own_redis.start()
    await archive.apply([FAILURE])

    await eventually(lambda: is_merged(own_setup), what="an answer with what Postgres has")
    assert counted.asked >= 2


async def is_merged(setup: RedisSetup) -> bool:
    """Whether Redis answers with the failure that only Postgres was told of."""
    reading = await setup.repository.get_summary(BATCH)
    return not reading.is_degraded and reading.summary.steps[StepName("spellcheck")].failed == 1


async def test_a_write_that_a_replica_refuses_is_enough_to_notice_it(
    own_setup: RedisSetup,
    counted: CountedArchive,
    own_redis: ValkeyServer,
    second_redis: ValkeyServer,
    address: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though nobody asks the server who it is, and its connection stays open."""
    monkeypatch.setattr(connections, "RECOGNISE_SECONDS", 3600.0)
    await touch(own_setup)
    await follow(own_redis, second_redis)
    address.forward_to(second_redis.port)

    with pytest.raises(StoreUnavailableError):
        await own_setup.repository.apply([SAID])
    await own_setup.repository.apply([SAID])

    async with Redis.from_url(second_redis.url) as redis:
        assert await redis.hexists("bcs:batch:batch", "e:essay-1")
    assert counted.asked > 1


async def test_a_demoted_primary_is_soon_left_by_readers(
    own_setup: RedisSetup,
    archive: PostgresBatchStateRepository,
    own_redis: ValkeyServer,
    second_redis: ValkeyServer,
) -> None:
    """From then on Postgres answers, for nobody knows how old a replica's data are."""
    await touch(own_setup)
    await archive.apply([FAILURE])
    await follow(own_redis, second_redis)

    async def is_left() -> bool:
        return (await own_setup.repository.get_summary(BATCH)).is_degraded

    await eventually(is_left, timeout_seconds=2, what="an answer without the replica")


async def test_a_server_that_has_no_room_for_a_name_is_read_all_the_same(
    own_redis: ValkeyServer, archive: PostgresBatchStateRepository
) -> None:
    async with redis_repository(own_redis.url, archive) as setup:
        await setup.repository.apply([SAID])
        async with Redis.from_url(own_redis.url) as redis:
            await redis.delete("bcs:server_run")
            await redis.config_set("maxmemory", 1)

        async with redis_repository(own_redis.url, archive) as later:
            readings = [await later.client.read([("EXISTS", "bcs:batch:batch")]) for _ in range(2)]

    assert [reading.replies for reading in readings] == [[1], [1]]
    assert len({reading.server_run for reading in readings}) == 1
