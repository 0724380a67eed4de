"""Limits over moving windows by `limits`: shared by all replicas in Redis, else per process."""

import time
from collections.abc import Sequence
from functools import cache
from typing import cast

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import MovingWindowRateLimiter
from limits.typing import AsyncRedisClient
from redis.asyncio import Redis

from api_gateway_service.implementations.redis_connection_impl import GatewayRedis
from api_gateway_service.models.values import Standing, Window, WindowState
from service_libs.exceptions import StoreUnavailableError

MAX_KEYS = 20_000  # of a window, in the memory of a process
KEY_PREFIX = "gateway:limits"


class ProcessRateLimiter:
    """`RateLimiterProtocol` in the memory of this process.

    Each window has a store of its own, which starts empty again when it holds too many keys. So
    failures from addresses without number make no user's hits forgotten.
    """

    def __init__(self) -> None:
        self._stores: dict[str, MemoryStorage] = {}

    async def hit(self, windows: Sequence[Window], key: str) -> Standing:
        limiters = [MovingWindowRateLimiter(self._store_of(window)) for window in windows]
        return await _hit(windows, limiters, key)

    def _store_of(self, window: Window) -> MemoryStorage:
        store = self._stores.get(window.name)
        if store is None or len(store.events) >= MAX_KEYS:
            store = self._stores[window.name] = MemoryStorage()
        return store


class _GatewayStorage(RedisStorage):
    """The library's own, on the gateway's client: its scripts go with all else that is asked."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        super().__init__("async+redis://", implementation="redispy", key_prefix=KEY_PREFIX)

    def configure_bridge(self) -> None:
        # The library's type of a client is narrower than redis-py's own.
        client = cast("AsyncRedisClient", self._client)
        cast("RedispyBridge", self.bridge).connection_getter = lambda _: client


class RedisRateLimiter:
    """`RateLimiterProtocol` in Redis; this process's own limiter counts while Redis is away.

    A script judges and counts each hit at once, so the windows are exact. The times are those of
    the replicas, and a window is as exact as their clocks agree.
    """

    def __init__(self, redis: GatewayRedis, own: ProcessRateLimiter) -> None:
        self._redis = redis
        self._own = own
        self._limiter = MovingWindowRateLimiter(_GatewayStorage(redis.client))

    async def hit(self, windows: Sequence[Window], key: str) -> Standing:
        limiters = [self._limiter] * len(windows)
        try:
            return await self._redis.ask(lambda: _hit(windows, limiters, key))
        except StoreUnavailableError:
            return await self._own.hit(windows, key)


async def _hit(
    windows: Sequence[Window], limiters: Sequence[MovingWindowRateLimiter], key: str
) -> Standing:
    """Count one after the other, for a full window ends it; each is read as it is counted."""
    states: list[WindowState] = []
    refused_by = None
    for window, limiter in zip(windows, limiters, strict=True):
        if refused_by is not None:
            states.append(await _state(window, limiter, key))
            continue
        is_taken = await limiter.hit(_item(window), key)
        states.append(await _state(window, limiter, key))
        refused_by = None if is_taken else states[-1]
    return Standing(states=states, refused_by=refused_by)


async def _state(window: Window, limiter: MovingWindowRateLimiter, key: str) -> WindowState:
    stats = await limiter.get_window_stats(_item(window), key)
    return WindowState(
        window=window,
        remaining=max(0, stats.remaining),
        reset_seconds=min(window.seconds, max(0.0, stats.reset_time - time.time())),
    )


@cache
def _item(window: Window) -> RateLimitItemPerSecond:
    return RateLimitItemPerSecond(window.amount, window.seconds, namespace=window.name)
