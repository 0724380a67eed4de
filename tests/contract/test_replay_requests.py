"""What an operator asks of running consumers is kept until all partitions have done it.

One contract for every store.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.implementations.redis.replays import RedisReplayRequests
from batch_orchestrator_service.implementations.postgres.replays import PostgresReplayRequests
from service_libs.protocols import ReplayRequestsProtocol
from tests.support.bos_database import bos_database_url, bos_engine
from tests.support.repositories import redis_repository

__all__ = ["bos_database_url", "bos_engine"]

ONE, OTHER = ("topic.v1", 0), ("topic.v1", 11)


@pytest.fixture(params=["redis", "postgres"])
async def requests(
    request: pytest.FixtureRequest, redis_url: str, bos_engine: AsyncEngine
) -> AsyncIterator[ReplayRequestsProtocol]:
    """Each store, empty."""
    if request.param == "postgres":
        yield PostgresReplayRequests(bos_engine)
        return
    async with redis_repository(redis_url) as setup:
        yield RedisReplayRequests(setup.client)


async def test_nothing_is_asked_at_first(requests: ReplayRequestsProtocol) -> None:
    assert await requests.find() is None
    await requests.settle("nobody's", [ONE])
    assert await requests.find() is None


async def test_what_is_asked_is_found(requests: ReplayRequestsProtocol) -> None:
    request_id = await requests.submit({ONE: 5, OTHER: 2**40})

    request = await requests.find()

    assert request
    assert (request.request_id, request.offsets) == (request_id, {ONE: 5, OTHER: 2**40})


async def test_what_is_settled_is_not_asked_any_more(requests: ReplayRequestsProtocol) -> None:
    request_id = await requests.submit({ONE: 5, OTHER: 7})

    await requests.settle(request_id, [OTHER])

    request = await requests.find()
    assert request
    assert (request.offsets, request.settled) == ({ONE: 5}, frozenset({OTHER}))


async def test_a_new_request_keeps_what_an_earlier_one_waits_for(
    requests: ReplayRequestsProtocol,
) -> None:
    first = await requests.submit({ONE: 5, OTHER: 7})
    await requests.settle(first, [OTHER])

    second = await requests.submit({ONE: 9, OTHER: 8})
    await requests.settle(first, [ONE, OTHER])

    request = await requests.find()
    assert request
    assert request.request_id == second != first
    assert (request.offsets, request.settled) == ({ONE: 5, OTHER: 8}, frozenset())


async def test_requests_at_once_lose_nothing(requests: ReplayRequestsProtocol) -> None:
    partitions = [("topic.v1", number) for number in range(3)]

    await asyncio.gather(*(requests.submit({one: 3}) for one in partitions))

    request = await requests.find()
    assert request
    assert request.offsets == dict.fromkeys(partitions, 3)
