"""Redis dies with something in the queue: what this process put there, it knows."""

from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from batch_conductor_service.domain.resolution import judge_step
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.queue import (
    RedisPersistenceQueue,
    WaitingEntries,
)
from batch_conductor_service.models import BatchId, StepName, SummaryReading
from common_core.verdicts import Reason
from local_stack.ports import LOCALHOST
from local_stack.valkey import ValkeyServer
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import KnownConnection, RedisCommand, RedisPolicy, RedisReading
from tests.support.builders import essay_names, evidence, minutes, registration, update
from tests.support.draining import drain
from tests.support.faults.proxy import FaultyProxy, ProxyThread, redis_exec
from tests.support.repositories import IN_LANES, RedisSetup, redis_repository

BATCH = BatchId("batch")
COMPLETE = update(
    "batch", registration(3, essays=essay_names(3)), *(evidence(essay) for essay in essay_names(3))
)
FAILURE = update("batch", evidence("essay-1", "failed", minutes(9)))


@pytest.fixture
def address(own_redis: ValkeyServer) -> Iterator[FaultyProxy]:
    """The way to Redis."""
    thread, proxy = ProxyThread(), FaultyProxy(own_redis.port)
    thread.add(proxy)
    yield proxy
    thread.close()


class Replica:
    """One process of the service: its repository, its worker's queue, and what it knows of it."""

    def __init__(self, url: str, setup: RedisSetup, known: WaitingEntries) -> None:
        self.setup = setup
        self.queue = RedisPersistenceQueue(
            url, RedisPolicy(), worker_name="w", takeover_seconds=30, waiting=known
        )

    async def answer(self) -> SummaryReading:
        """Return what it answers while Redis is away, from Postgres."""
        reading = await self.setup.repository.get_summary(BATCH)
        assert reading.is_degraded
        return reading


@pytest.fixture(params=[None, IN_LANES], ids=["by-watch", "in-lanes"])
async def replica(
    request: pytest.FixtureRequest, address: FaultyProxy, archive: PostgresBatchStateRepository
) -> AsyncIterator[Replica]:
    """A replica that has completed the batch, brought it to Postgres, and seen that it did."""
    url, known = f"redis://{LOCALHOST}:{address.port}/0", WaitingEntries()
    async with redis_repository(url, archive, policy=request.param, waiting=known) as setup:
        opened = Replica(url, setup, known)
        await setup.repository.apply([COMPLETE])
        await drain(opened.queue, archive)
        await opened.queue.get_backlog()
        yield opened
        await opened.queue.close()


def reason(reading: SummaryReading) -> Reason:
    return judge_step(reading.summary, StepName("spellcheck")).reason


async def test_what_all_has_reached_postgres_is_answered_from_there(
    replica: Replica, own_redis: ValkeyServer
) -> None:
    own_redis.kill()

    assert reason(await replica.answer()) is Reason.ALREADY_COMPLETED


async def test_a_failure_that_this_process_queued_keeps_postgres_from_pruning(
    replica: Replica, own_redis: ValkeyServer
) -> None:
    """Within the second, before anybody has looked at the queue."""
    await replica.setup.repository.apply([FAILURE])
    own_redis.kill()

    assert reason(await replica.answer()) is Reason.STATE_UNKNOWN


async def test_a_look_that_failed_is_no_look(replica: Replica, own_redis: ValkeyServer) -> None:
    await replica.setup.repository.apply([FAILURE])
    own_redis.kill()
    with pytest.raises(StoreUnavailableError):
        await replica.queue.get_backlog()

    assert reason(await replica.answer()) is Reason.STATE_UNKNOWN


async def test_a_failure_whose_transaction_got_no_reply_may_be_queued(
    replica: Replica, address: FaultyProxy, own_redis: ValkeyServer
) -> None:
    address.lose_replies(redis_exec, every=1)
    with pytest.raises(StoreUnavailableError):
        await replica.setup.repository.apply([FAILURE])
    own_redis.kill()

    assert address.fired
    assert reason(await replica.answer()) is Reason.STATE_UNKNOWN


async def test_a_look_from_before_a_transaction_says_nothing_of_it(
    replica: Replica, own_redis: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look comes between what the transaction reads and what it writes."""
    ask = replica.setup.client.ask

    async def ask_and_look(
        connection: KnownConnection, commands: Sequence[RedisCommand]
    ) -> RedisReading:
        reading = await ask(connection, commands)
        await replica.queue.get_backlog()
        return reading

    monkeypatch.setattr(replica.setup.client, "ask", ask_and_look)
    await replica.setup.repository.apply([FAILURE])
    monkeypatch.undo()
    own_redis.kill()

    assert reason(await replica.answer()) is Reason.STATE_UNKNOWN


async def test_when_postgres_has_it_and_that_was_seen_postgres_answers(
    replica: Replica, archive: PostgresBatchStateRepository, own_redis: ValkeyServer
) -> None:
    await replica.setup.repository.apply([FAILURE])
    await drain(replica.queue, archive)
    await replica.queue.get_backlog()
    own_redis.kill()

    assert reason(await replica.answer()) is Reason.FAILED_ESSAYS
