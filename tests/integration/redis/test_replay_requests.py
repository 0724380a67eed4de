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


async def test_a_request_is_there_until_it_lapses(
    requests: RedisReplayRequests, redis: Redis
) -> None:
    request_id = await requests.submit({ONE: 5, OTHER: 7})

    request = await requests.find()

    assert request
    assert (request.request_id, request.offsets) == (request_id, {ONE: 5, OTHER: 7})
    assert 0 < await redis.ttl("bcs:replay") <= 3600


async def test_a_request_that_others_keep_changing_is_given_up(redis_url: str) -> None:
    async with redis_repository(redis_url, policy=RedisPolicy(max_attempts=0)) as setup:
        with pytest.raises(StoreUnavailableError):
            await RedisReplayRequests(setup.client).submit({ONE: 5})
