"""What is asked of the gateway's Redis at the same time is sent together, and answered apart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from api_gateway_service.implementations.redis_connection_impl import GatewayRedis, RedisBatches
from api_gateway_service.metrics import Metrics
from tests.support.waiting import eventually

AT_ONCE = 50


@dataclass
class Wire:
    """What stands between the gateway and its Redis.

    Attributes:
        writes: each part of what was sent to Redis.
        is_open: while it is not set nothing is passed on.
    """

    writes: list[bytes] = field(default_factory=list)
    is_open: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, and note it."""
        with suppress(ConnectionError):
            while part := await reader.read(65536):
                self.writes.append(part)
                await self.is_open.wait()
                writer.write(part)
        writer.close()


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes."""
    with suppress(ConnectionError):
        while part := await reader.read(65536):
            writer.write(part)
    writer.close()


@pytest.fixture
async def plain(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
async def wire() -> Wire:
    wire = Wire()
    wire.is_open.set()
    return wire


@pytest.fixture
async def redis(redis_url: str, wire: Wire) -> AsyncIterator[RedisBatches]:
    """The gateway's Redis, whose connection is made already."""
    place = urlsplit(redis_url)
    carrying: set[asyncio.Task[None]] = set()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_connection(place.hostname, place.port)
        carrying.add(asyncio.create_task(carry(from_redis, writer)))
        await wire.pass_on(reader, to_redis)

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    gateway = GatewayRedis(url, Metrics(CollectorRegistry()).limiter_fallback)
    await gateway.ping()
    wire.writes.clear()
    yield gateway.batches
    await gateway.close()
    server.close()
    await asyncio.wait(carrying)


async def test_what_is_asked_at_once_is_one_write(redis: RedisBatches, wire: Wire) -> None:
    counts = await asyncio.gather(*(redis.ask("INCR", "count") for _ in range(AT_ONCE)))

    assert counts == [*range(1, AT_ONCE + 1)]  # each has its own reply, in the order of asking
    assert len(wire.writes) == 1


async def test_what_comes_meanwhile_goes_next_together(redis: RedisBatches, wire: Wire) -> None:
    wire.is_open.clear()
    first = asyncio.ensure_future(redis.ask("INCR", "count"))
    await eventually(lambda: len(wire.writes) == 1)
    others = [asyncio.ensure_future(redis.ask("INCR", "count")) for _ in range(AT_ONCE)]
    await asyncio.sleep(0)
    wire.is_open.set()

    assert await first == 1
    assert [await one for one in others] == [*range(2, AT_ONCE + 2)]
    assert len(wire.writes) == 2


async def test_a_refusal_is_that_of_one_command_only(redis: RedisBatches) -> None:
    replies = await asyncio.gather(
        redis.ask("INCR", "count"),
        redis.ask("LPUSH", "count", "x"),
        redis.ask("GET", "count"),
        return_exceptions=True,
    )

    assert (replies[0], replies[2]) == (1, "1")
    assert isinstance(replies[1], ResponseError)
    assert await redis.ask("INCR", "count") == 2


async def test_what_nobody_waits_for_any_more_is_not_sent(
    redis: RedisBatches, wire: Wire, plain: Redis
) -> None:
    """A request that counted for itself meanwhile is not counted again."""
    wire.is_open.clear()
    first = asyncio.ensure_future(redis.ask("INCR", "count"))
    await eventually(lambda: len(wire.writes) == 1)
    gone = asyncio.ensure_future(redis.ask("INCR", "count"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone})
    wire.is_open.set()

    assert await first == 1
    assert await redis.ask("GET", "count") == "1"
    assert await plain.get("count") == "1"


async def test_whoever_asks_at_the_very_end_is_told(redis: RedisBatches) -> None:
    """What sends had no turn yet."""
    waiting = asyncio.ensure_future(redis.ask("INCR", "count"))
    closing = asyncio.ensure_future(redis.close())

    await asyncio.wait_for(closing, 5)

    with pytest.raises(RedisConnectionError):
        await asyncio.wait_for(waiting, 5)


async def test_who_still_waits_at_the_end_is_told(redis: RedisBatches, wire: Wire) -> None:
    wire.is_open.clear()
    first = asyncio.ensure_future(redis.ask("INCR", "count"))
    await eventually(lambda: len(wire.writes) == 1)
    second = asyncio.ensure_future(redis.ask("INCR", "count"))
    await asyncio.sleep(0)

    await redis.close()
    wire.is_open.set()

    for waiting in (first, second):
        with pytest.raises(RedisConnectionError):
            await asyncio.wait_for(waiting, 5)


async def test_a_connection_that_was_closed_meanwhile_is_made_again(
    redis: RedisBatches, plain: Redis
) -> None:
    await redis.ask("SET", "kept", "x")

    await plain.client_kill_filter(_type="normal", skipme=True)

    assert (
        await asyncio.gather(*(redis.ask("GET", "kept") for _ in range(AT_ONCE))) == ["x"] * AT_ONCE
    )


async def test_replies_that_do_not_come_in_time_are_nobody_s(
    redis: RedisBatches, wire: Wire
) -> None:
    """They come to no one who asks later, either."""
    wire.is_open.clear()
    asked = [redis.ask("SET", "a", "late"), redis.ask("GET", "a")]
    lost = await asyncio.gather(*asked, return_exceptions=True)
    wire.is_open.set()

    assert {type(one) for one in lost} == {TimeoutError}
    assert await redis.ask("ECHO", "mine") == "mine"


async def test_whoever_waits_when_the_client_is_closed_is_told(
    redis: RedisBatches, wire: Wire
) -> None:
    wire.is_open.clear()
    waiting = asyncio.ensure_future(redis.ask("GET", "a"))
    await eventually(lambda: len(wire.writes) == 1)

    await redis.close()

    with pytest.raises(RedisConnectionError):
        await waiting
    wire.is_open.set()
