"""What running consumers are asked, in a real Redis."""

import pytest
from redis.asyncio import Redis

from batch_conductor_service.implementations.redis.replays import RedisReplayRequests
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import RedisPolicy
from tests.support.repositories import RedisSetup, redis_repository

ONE, OTHER = ("topic.v1", 0), ("topic.v1", 11)


@pytest.fixture
def requests(setup: RedisSetup) -> RedisReplayRequests:
    return RedisReplayRequests(setup.client)


async def test_nothing_is_asked_at_first(requests: RedisReplayRequests) -> None:
    assert await requests.find() is None
    await requests.settle("nobody's", [ONE])
    assert await requests.find() is None


async def test_a_request_is_there_until_it_lapses(
    requests: RedisReplayRequests, redis: Redis
) -> None:
    request_id = await requests.submit({ONE: 5, OTHER: 7})

    request = await requests.find()

    assert request
    assert (request.request_id, request.offsets) == (request_id, {ONE: 5, OTHER: 7})
    assert 0 < await redis.ttl("bcs:replay") <= 3600


async def test_what_is_settled_is_not_asked_any_more(requests: RedisReplayRequests) -> None:
    request_id = await requests.submit({ONE: 5, OTHER: 7})

    await requests.settle(request_id, [OTHER])

    request = await requests.find()
    assert request
    assert (request.offsets, request.settled) == ({ONE: 5}, frozenset({OTHER}))


async def test_a_new_request_keeps_what_an_earlier_one_waits_for(
    requests: RedisReplayRequests,
) -> None:
    first = await requests.submit({ONE: 5, OTHER: 7})
    await requests.settle(first, [OTHER])

    second = await requests.submit({ONE: 9, OTHER: 8})
    await requests.settle(first, [ONE, OTHER])

    request = await requests.find()
    assert request
    assert request.request_id == second != first
    assert (request.offsets, request.settled) == ({ONE: 5, OTHER: 8}, frozenset())


async def test_a_request_that_others_keep_changing_is_given_up(redis_url: str) -> None:
    async with redis_repository(redis_url, policy=RedisPolicy(max_attempts=0)) as setup:
        with pytest.raises(StoreUnavailableError):
            await RedisReplayRequests(setup.client).submit({ONE: 5})
