"""Limits and idempotency keys: in Redis and in a process the same holds."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from api_gateway_service.implementations import rate_limiter_impl
from api_gateway_service.implementations.idempotency_impl import (
    ProcessIdempotencyStore,
    RedisIdempotencyStore,
)
from api_gateway_service.implementations.rate_limiter_impl import (
    ProcessRateLimiter,
    RedisRateLimiter,
)
from api_gateway_service.implementations.redis_connection_impl import GatewayRedis
from api_gateway_service.metrics import Metrics
from api_gateway_service.models.values import ClaimOutcome, RequestRecord, Standing, Window
from api_gateway_service.protocols import IdempotencyStoreProtocol, RateLimiterProtocol
from service_libs.redis.connections import RedisCommand

BURST = Window(name="burst", amount=5, seconds=10)
MINUTE = Window(name="minute", amount=20, seconds=60)
BRIEF = Window(name="brief", amount=2, seconds=2)
RECORD = RequestRecord(
    fingerprint="one", correlation_id=UUID(int=1), accepted_at=datetime(2026, 1, 31, tzinfo=UTC)
)
IN_FLIGHT_SECONDS = 0.3
KINDS = ["process", "redis", "redis-is-away"]


@pytest.fixture(params=KINDS)
async def redis(
    request: pytest.FixtureRequest, redis_url: str
) -> AsyncIterator[GatewayRedis | None]:
    """The Redis that is asked, if one is; what is asked for is never quietly kept elsewhere."""
    registry = CollectorRegistry()
    url = redis_url if request.param == "redis" else "redis://127.0.0.1:1"
    redis = GatewayRedis(url, Metrics(registry).limiter_fallback)
    yield None if request.param == "process" else redis
    await redis.close()
    is_away = registry.get_sample_value("gateway_limits_per_process")
    assert is_away == (request.param == "redis-is-away")


@pytest.fixture
def limiter(redis: GatewayRedis | None) -> RateLimiterProtocol:
    own = ProcessRateLimiter()
    return RedisRateLimiter(redis, own) if redis else own


@pytest.fixture
def store(redis: GatewayRedis | None) -> IdempotencyStoreProtocol:
    own = ProcessIdempotencyStore(in_flight_seconds=IN_FLIGHT_SECONDS)
    if redis is None:
        return own
    return RedisIdempotencyStore(redis, own, in_flight_seconds=IN_FLIGHT_SECONDS)


def refused(standings: list[Standing]) -> list[str]:
    """Return the windows that refused something."""
    return [one.refused_by.window.name for one in standings if one.refused_by]


async def test_of_fifty_at_once_exactly_as_many_as_the_window_has_are_counted(
    limiter: RateLimiterProtocol,
) -> None:
    standings = await asyncio.gather(*(limiter.hit([BURST, MINUTE], "me") for _ in range(50)))

    assert refused(standings) == ["burst"] * 45
    [burst, minute] = (await limiter.hit([BURST, MINUTE], "me")).states
    assert (burst.remaining, minute.remaining) == (0, 15)


async def test_what_the_first_window_refuses_the_second_does_not_hear_of(
    limiter: RateLimiterProtocol,
) -> None:
    for _ in range(9):
        await limiter.hit([BURST, MINUTE], "me")

    assert (await limiter.hit([MINUTE], "me")).states[0].remaining == 14


async def test_the_later_window_refuses_as_well(limiter: RateLimiterProtocol) -> None:
    large = replace(BURST, amount=100)

    standings = [await limiter.hit([large, MINUTE], "me") for _ in range(22)]

    assert refused(standings) == ["minute"] * 2


async def test_everybody_has_windows_of_his_own(limiter: RateLimiterProtocol) -> None:
    for _ in range(5):
        await limiter.hit([BURST], "me")

    assert (await limiter.hit([BURST], "me")).refused_by is not None
    assert (await limiter.hit([BURST], "you")).refused_by is None


async def test_a_window_slides(limiter: RateLimiterProtocol) -> None:
    first = await limiter.hit([BRIEF], "me")
    await asyncio.sleep(1)
    await limiter.hit([BRIEF], "me")
    full = await limiter.hit([BRIEF], "me")
    assert full.refused_by is not None
    await asyncio.sleep(full.refused_by.reset_seconds + 0.05)

    again = [await limiter.hit([BRIEF], "me") for _ in range(2)]

    assert first.states[0].remaining == 1
    assert 0 < full.refused_by.reset_seconds < 1.1
    assert [one.refused_by is None for one in again] == [True, False]


async def test_a_standing_says_what_is_left_and_when_more_comes(
    limiter: RateLimiterProtocol,
) -> None:
    [state] = (await limiter.hit([BURST], "me")).states

    assert (state.window, state.remaining) == (BURST, 4)
    assert 9 < state.reset_seconds <= 10


async def test_a_process_remembers_so_many_of_each_window_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Addresses without number have nobody's own requests forgotten."""
    monkeypatch.setattr(rate_limiter_impl, "MAX_KEYS", 10)
    limiter = ProcessRateLimiter()
    await limiter.hit([MINUTE], "me")

    for number in range(100):
        await limiter.hit([BRIEF], f"address-{number}")

    assert max(len(store.events) for store in limiter._stores.values()) == 10
    assert (await limiter.hit([MINUTE], "me")).states[0].remaining == 18


async def test_what_is_kept_in_redis_is_the_gateway_s_and_ends_with_its_window(
    redis_url: str,
) -> None:
    redis = GatewayRedis(redis_url, Metrics(CollectorRegistry()).limiter_fallback)
    await RedisRateLimiter(redis, ProcessRateLimiter()).hit([BURST, MINUTE], "me")
    await redis.close()

    async with Redis.from_url(redis_url, decode_responses=True) as client:
        keys = sorted(await client.keys())
        ends = [await client.ttl(key) for key in keys]

    assert all(str(key).startswith("gateway:limits:") for key in keys)
    assert ends == [10, 60]


async def test_a_hit_counts_once_where_redis_has_forgotten_how_to_count(redis_url: str) -> None:
    """As a server that was started anew has."""
    redis = GatewayRedis(redis_url, Metrics(CollectorRegistry()).limiter_fallback)
    limiter = RedisRateLimiter(redis, ProcessRateLimiter())
    async with Redis.from_url(redis_url) as client:
        for remaining in (4, 3, 2):
            await client.script_flush()

            [state] = (await limiter.hit([BURST], "me")).states

            assert state.remaining == remaining
    await redis.close()


async def test_a_request_is_begun_once_at_a_time(store: IdempotencyStoreProtocol) -> None:
    name = uuid4()

    claims = await asyncio.gather(*(store.claim(name, RECORD) for _ in range(20)))

    outcomes = sorted(claim.outcome for claim in claims)
    assert outcomes == [ClaimOutcome.BEGUN] + [ClaimOutcome.IN_FLIGHT] * 19


async def test_a_claim_whose_reply_was_lost_is_not_another_s(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent again, for a connection that the server has closed looks the same."""
    redis = GatewayRedis(redis_url, Metrics(CollectorRegistry()).limiter_fallback)
    store = RedisIdempotencyStore(
        redis, ProcessIdempotencyStore(in_flight_seconds=9), in_flight_seconds=9
    )
    exchange, name = redis.batches._exchange_once, uuid4()

    async def lose(commands: list[RedisCommand]) -> list[object]:
        await exchange(commands)
        monkeypatch.setattr(redis.batches, "_exchange_once", exchange)
        raise RedisConnectionError("The replies are lost.")

    await store.claim(uuid4(), RECORD)  # from now on Redis has the script
    monkeypatch.setattr(redis.batches, "_exchange_once", lose)
    claims = [await store.claim(name, RECORD) for _ in range(2)]
    await redis.close()

    assert redis.batches._exchange_once is exchange  # it was lost
    assert [claim.outcome for claim in claims] == [ClaimOutcome.BEGUN, ClaimOutcome.IN_FLIGHT]


async def test_a_request_that_was_made_is_known_by_its_first_try(
    store: IdempotencyStoreProtocol,
) -> None:
    name = uuid4()
    await store.claim(name, RECORD)
    await store.complete(name)

    again = await store.claim(name, replace(RECORD, correlation_id=UUID(int=2)))

    assert again.outcome is ClaimOutcome.MADE
    assert again.record == RECORD


async def test_an_id_is_of_one_request_only(store: IdempotencyStoreProtocol) -> None:
    name = uuid4()
    await store.claim(name, RECORD)

    for act in (store.release, store.complete):
        await act(name)
        other = await store.claim(name, replace(RECORD, fingerprint="two"))
        assert other.outcome is ClaimOutcome.REUSED


async def test_a_try_that_was_given_up_may_be_made_again_at_once(
    store: IdempotencyStoreProtocol,
) -> None:
    name = uuid4()
    await store.claim(name, RECORD)
    await store.release(name)

    again = await store.claim(name, replace(RECORD, correlation_id=UUID(int=2)))

    assert again.outcome is ClaimOutcome.BEGUN
    assert again.record == RECORD


async def test_a_try_that_died_keeps_others_out_no_longer_than_it_may_take(
    store: IdempotencyStoreProtocol,
) -> None:
    name = uuid4()
    await store.claim(name, RECORD)
    assert (await store.claim(name, RECORD)).outcome is ClaimOutcome.IN_FLIGHT
    await asyncio.sleep(IN_FLIGHT_SECONDS + 0.1)

    claims = [await store.claim(name, RECORD) for _ in range(2)]

    assert [claim.outcome for claim in claims] == [ClaimOutcome.BEGUN, ClaimOutcome.IN_FLIGHT]


async def test_what_is_not_known_cannot_be_completed(store: IdempotencyStoreProtocol) -> None:
    """A record that Redis has put out is not born again in part."""
    name = uuid4()
    await store.complete(name)
    await store.release(name)

    assert (await store.claim(name, RECORD)).outcome is ClaimOutcome.BEGUN
