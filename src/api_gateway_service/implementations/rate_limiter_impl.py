"""Limits over moving windows by `limits`: shared by all replicas in Redis, else per process."""

import time
from collections.abc import Sequence
from functools import cache
from typing import cast

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.storage.redis.bridge import RedisBridge
from limits.aio.strategies import MovingWindowRateLimiter

from api_gateway_service.implementations.redis_connection_impl import GatewayRedis, Script
from api_gateway_service.models.values import Standing, Window, WindowState
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import script_text

MAX_KEYS = 20_000  # of a window, in the memory of a process
KEY_PREFIX = "gateway:limits"

# What the script returns: the place of the full window, and of each the oldest time and the count.
_Counted = tuple[int, list[tuple[str, int]]]


def _as_function(name: str, script: bytes) -> str:
    return f"local function {name}(KEYS, ARGV)\n{script.decode()}\nend\n"


_HIT = Script(
    _as_function("acquire", RedisBridge.SCRIPT_ACQUIRE_MOVING_WINDOW)
    + _as_function("read", RedisBridge.SCRIPT_MOVING_WINDOW)
    + script_text(__package__, "hit")
)


class ProcessRateLimiter:
    """`RateLimiterProtocol` in the memory of this process.

    Each window has a store of its own, which starts empty again when it holds too many keys. So
    failures from addresses without number make no user's hits forgotten.
    """

    def __init__(self) -> None:
        self._stores: dict[str, MemoryStorage] = {}

    async def hit(self, windows: Sequence[Window], key: str) -> Standing:
        states: list[WindowState] = []
        refused_by = None
        for window in windows:
            limiter = MovingWindowRateLimiter(self._store_of(window))
            is_taken = refused_by is None and await limiter.hit(_item(window), key)
            stats = await limiter.get_window_stats(_item(window), key)
            states.append(_state(window, stats.remaining, stats.reset_time - time.time()))
            if not is_taken and refused_by is None:
                refused_by = states[-1]
        return Standing(states=states, refused_by=refused_by)

    def _store_of(self, window: Window) -> MemoryStorage:
        store = self._stores.get(window.name)
        if store is None or len(store.events) >= MAX_KEYS:
            store = self._stores[window.name] = MemoryStorage()
        return store


class RedisRateLimiter:
    """`RateLimiterProtocol` in Redis; this process's own limiter counts while Redis is away.

    One script judges and counts each hit in all windows, so they are exact; only a hit whose reply
    was lost counts twice. The times are those of
    the replicas, and a window is as exact as their clocks agree. How a window slides is the
    library's: its strategy would send four commands for two windows, one after the other.
    """

    def __init__(self, redis: GatewayRedis, own: ProcessRateLimiter) -> None:
        self._redis = redis
        self._own = own

    async def hit(self, windows: Sequence[Window], key: str) -> Standing:
        now = time.time()
        keys = [f"{KEY_PREFIX}:{window.name}:{key}" for window in windows]
        amounts = [part for window in windows for part in (window.amount, window.seconds)]
        try:
            reply = await self._redis.run(_HIT, keys, repr(now), *amounts)
        except StoreUnavailableError:
            return await self._own.hit(windows, key)
        full, found = cast("_Counted", reply)
        states = [
            _state(window, window.amount - taken, float(oldest) + window.seconds - now)
            for window, (oldest, taken) in zip(windows, found, strict=True)
        ]
        return Standing(states=states, refused_by=states[full - 1] if full else None)


def _state(window: Window, remaining: int, reset_seconds: float) -> WindowState:
    return WindowState(
        window=window,
        remaining=max(0, remaining),
        reset_seconds=min(window.seconds, max(0.0, reset_seconds)),
    )


@cache
def _item(window: Window) -> RateLimitItemPerSecond:
    return RateLimitItemPerSecond(window.amount, window.seconds, namespace=window.name)
