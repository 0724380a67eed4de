"""Many writers of one batch: nobody's update is lost, however the transaction ends."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis

from batch_conductor_service.implementations.redis.batch_state import (
    RedisCachedBatchStateRepositoryImpl,
)
from batch_conductor_service.implementations.redis.planning import WritePlanner
from batch_conductor_service.implementations.redis.queue import WaitingEntries
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId, StepName
from service_libs.breakers import CircuitBreakers
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import RedisCommand, RedisPolicy
from service_libs.redis.transactions import Compose, RedisClient, RedisReaderProtocol
from service_libs.timing import SystemClock
from tests.support.builders import essay_names, evidence, update
from tests.support.pipelines import DEPENDENCIES
from tests.support.repositories import RedisSetup, redis_repository

WRITERS = 16


class FailingOnce:
    """Redis, which cannot be reached when the second transaction begins."""

    def __init__(self, client: RedisClient) -> None:
        self.read = client.read
        self.transact_in_lane = client.transact_in_lane
        self._client = client
        self._transactions = 0

    async def transact(self, watch: Sequence[str], compose: Compose) -> list[Any] | None:
        self._transactions += 1
        if self._transactions == 2:
            raise StoreUnavailableError
        return await self._client.transact(watch, compose)


@pytest.mark.parametrize("max_attempts", [1, 5], ids=["mostly-in-lanes", "mostly-by-watch"])
async def test_writers_in_different_processes_lose_nothing(
    redis_url: str, max_attempts: int
) -> None:
    policy = RedisPolicy(max_attempts=max_attempts, backoff_seconds=0.001)
    async with AsyncExitStack() as stack:
        writers = [
            await stack.enter_async_context(redis_repository(redis_url, policy=policy))
            for _ in range(WRITERS)
        ]
        await asyncio.gather(
            *(
                writer.repository.apply([update("batch", evidence(f"essay-{number}-{essay}"))])
                for number, writer in enumerate(writers)
                for essay in range(5)
            )
        )
        summary = (await writers[0].repository.get_summary(BatchId("batch"))).summary
        fell_back = sum(count(writer.metrics, "fell_back") for writer in writers)

    assert summary.steps[StepName("spellcheck")].completed == WRITERS * 5
    assert fell_back > 0, "no lane was ever needed: the test proved nothing of them"


async def test_writers_in_one_process_wait_for_each_other_and_share_a_transaction(
    setup: RedisSetup,
) -> None:
    """The lock of the batch keeps them from losing WATCH against each other."""
    said = [update("batch", evidence(essay)) for essay in essay_names(50)]
    await asyncio.gather(*(setup.repository.apply([one]) for one in said))

    summary = (await setup.repository.get_summary(BatchId("batch"))).summary

    assert summary.steps[StepName("spellcheck")].completed == 50
    assert count(setup.metrics, "committed") == 2, "the first alone, then all that waited for it"
    assert count(setup.metrics, "contended") == 0


async def test_what_shares_a_transaction_that_fails_is_tried_by_itself(setup: RedisSetup) -> None:
    breakers = CircuitBreakers(setup.metrics)
    planner = WritePlanner(None, breakers, SystemClock(), DEPENDENCIES, ttl_seconds=600)
    repository = RedisCachedBatchStateRepositoryImpl(
        FailingOnce(setup.client), planner, breakers, WaitingEntries(), deque()
    )
    said = [update("batch", evidence(essay)) for essay in essay_names(5)]

    results = await asyncio.gather(
        *(repository.apply([one]) for one in said), return_exceptions=True
    )

    # The first was alone, the second took the others along: its caller alone hears of it.
    failed = [one for one in results if isinstance(one, BaseException)]
    assert [type(one) for one in failed] == [StoreUnavailableError]
    summary = (await setup.repository.get_summary(BatchId("batch"))).summary
    assert summary.steps[StepName("spellcheck")].completed == 4


async def test_who_leaves_while_waiting_keeps_nobody_from_the_batch(setup: RedisSetup) -> None:
    said = [update("batch", evidence(essay)) for essay in essay_names(3)]
    first, left, last = (asyncio.create_task(setup.repository.apply([one])) for one in said)
    await asyncio.sleep(0)
    left.cancel()

    await asyncio.gather(first, left, last, return_exceptions=True)

    assert left.cancelled()
    summary = (await setup.repository.get_summary(BatchId("batch"))).summary
    assert summary.steps[StepName("spellcheck")].completed == 2


async def test_a_transaction_that_loses_is_tried_again_and_counted(
    setup: RedisSetup, redis: Redis
) -> None:
    tries: list[int] = []

    async def compose(reader: RedisReaderProtocol) -> list[RedisCommand]:
        await reader.read([("GET", "watched")])
        tries.append(1)
        if len(tries) < 3:
            await redis.incr("watched")
        return [("SET", "written", "1")]

    results = await setup.client.transact(["watched"], compose)

    assert results == ["OK"]
    assert (count(setup.metrics, "contended"), retries(setup.metrics, "contended")) == (1, 2)


async def test_a_transaction_that_always_loses_ends_without_having_written(
    setup: RedisSetup, redis: Redis
) -> None:
    async def compose(reader: RedisReaderProtocol) -> list[RedisCommand]:
        await reader.read([("GET", "watched")])
        await redis.incr("watched")
        return [("SET", "written", "1")]

    assert await setup.client.transact(["watched"], compose) is None
    assert await redis.get("written") is None


async def test_in_a_lane_a_transaction_is_tried_until_it_wins_and_counted(
    setup: RedisSetup, redis: Redis
) -> None:
    tries: list[int] = []

    async def compose(reader: RedisReaderProtocol) -> list[RedisCommand]:
        assert await redis.exists("lane")
        await reader.read([("GET", "watched")])
        tries.append(1)
        if len(tries) < 9:
            await redis.incr("watched")
        return [("SET", "written", "1")]

    assert await setup.client.transact_in_lane("lane", ["watched"], compose) == ["OK"]
    assert await redis.get("written") == "1"
    assert not await redis.exists("lane")
    assert len(tries) == 9
    assert count(setup.metrics, "fell_back") == 1


async def test_a_server_that_is_another_one_leaves_no_transaction_unguarded(
    setup: RedisSetup, redis: Redis
) -> None:
    """Closed under the transaction, its connection would come back without the WATCH."""
    reads: list[str] = []

    async def compose(reader: RedisReaderProtocol) -> list[RedisCommand]:
        [found] = (await reader.read([("GET", "key")])).replies
        if not reads:
            await redis.set("key", "theirs")
        reads.append(found)
        return [("SET", "key", f"ours after {found}")]

    await setup.client.read([("PING",)])
    setup.client._server_run = "that of another server"
    await setup.client.transact(["key"], compose)

    assert await redis.get("key") == "ours after theirs"
    assert reads == [None, "theirs"]


async def test_a_cancelled_writer_leaves_all_or_nothing(setup: RedisSetup, redis: Redis) -> None:
    """A caller that goes away at any moment: the pool keeps its connections, state stays true."""
    for number in range(60):
        task = asyncio.create_task(
            setup.repository.apply([update("batch", evidence(f"essay-{number}"))])
        )
        await asyncio.sleep(number % 12 / 4000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    documents = [key async for key in redis.scan_iter("bcs:essay_state:*")]

    summary = (await setup.repository.get_summary(BatchId("batch"))).summary

    known = summary.steps.get(StepName("spellcheck"))
    assert (known.completed if known else 0) == len(documents)
    assert in_use(setup.client) == 0


def count(metrics: Metrics, outcome: str) -> float:
    labels = {"outcome": outcome}
    return metrics.registry.get_sample_value("bcs_redis_transactions_total", labels) or 0


def retries(metrics: Metrics, outcome: str) -> float:
    labels = {"outcome": outcome}
    return metrics.registry.get_sample_value("bcs_redis_transaction_retries_total", labels) or 0


def in_use(client: RedisClient) -> int:
    return len(client._redis.connection_pool._in_use_connections)
