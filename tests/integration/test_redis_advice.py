from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from local_stack.valkey import ValkeyServer
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import RedisPolicy
from service_libs.redis.health import RedisProbe
from tests.support.repositories import redis_probe


@pytest.fixture
async def probe(own_redis: ValkeyServer) -> AsyncIterator[RedisProbe]:
    opened = redis_probe(own_redis.url, RedisPolicy(timeout_seconds=1))
    yield opened
    await opened.close()


async def configure(server: ValkeyServer, policy: str) -> None:
    async with Redis.from_url(server.url) as client:
        await client.config_set("maxmemory-policy", policy)


async def advice_of(probe: RedisProbe) -> list[str]:
    with capture_logs() as logs:
        await probe.ping()
    return [line["reason"] for line in logs if line["event"] == "redis_may_lose_state"]


async def test_a_redis_that_may_evict_state_is_warned_of_once(
    own_redis: ValkeyServer, probe: RedisProbe
) -> None:
    await configure(own_redis, "allkeys-lru")

    first, second = await advice_of(probe), await advice_of(probe)

    assert first == ["maxmemory-policy is allkeys-lru, should be noeviction"]
    assert second == []


async def test_a_redis_that_keeps_everything_is_not_warned_of(
    own_redis: ValkeyServer, probe: RedisProbe
) -> None:
    await configure(own_redis, "noeviction")

    assert await advice_of(probe) == []


async def test_a_redis_that_comes_back_is_looked_at_again(
    own_redis: ValkeyServer, probe: RedisProbe
) -> None:
    await probe.ping()
    own_redis.kill()
    with pytest.raises(StoreUnavailableError):
        await probe.ping()
    own_redis.start()
    await configure(own_redis, "volatile-ttl")

    assert await advice_of(probe) == ["maxmemory-policy is volatile-ttl, should be noeviction"]
