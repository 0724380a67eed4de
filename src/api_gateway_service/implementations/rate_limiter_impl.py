"""Limits over sliding windows: shared by all replicas in Redis, and per process without it."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from api_gateway_service.implementations.redis_connection_impl import GatewayRedis
from api_gateway_service.models.values import Standing, Window, WindowState
from api_gateway_service.protocols import RateLimiterProtocol
from service_libs.exceptions import StoreUnavailableError

MAX_KEYS = 50_000  # remembered by a process; the longest unused go first
KEY_PREFIX = "gateway:limits"


class RedisRateLimiter:
    """`RateLimiterProtocol` on `limits`: a window is a list of times, judged and kept by a script.

    Raises `StoreUnavailableError` where Redis does not answer.
    """

    def __init__(self, redis: GatewayRedis, now: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._now = now
        # The connections are given; the type of the options leaves them out.
        connections: dict[str, Any] = {"connection_pool": redis.client.connection_pool}
        storage = RedisStorage(
            "async+redis://", implementation="redispy", key_prefix=KEY_PREFIX, **connections
        )
        self._limiter = MovingWindowRateLimiter(storage)

    async def hit(self, windows: Sequence[Window], key: str) -> Standing:
        return await self._redis.ask(lambda: self._hit(windows, key))

    async def _hit(self, windows: Sequence[Window], key: str) -> Standing:
        refused_by = None
        for number, window in enumerate(windows):
            if not await self._limiter.hit(_item(window), key):
                refused_by = number
                break
        states = [await self._state(window, key) for window in windows]
        return _standing(states, refused_by)

    async def _state(self, window: Window, key: str) -> WindowState:
        stats = await self._limiter.get_window_stats(_item(window), key)
        return WindowState(
            window=window,
            remaining=max(0, stats.remaining),
            reset_seconds=min(window.seconds, max(0.0, stats.reset_time - self._now())),
        )


class ProcessRateLimiter:
    """`RateLimiterProtocol` in the memory of this process."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._hits: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    async def hit(self, windows: Sequence[Window], key: str) -> Standing:
        refused_by = None
        for number, window in enumerate(windows):
            hits = self._hits_of(window, key)
            if len(hits) >= window.amount:
                refused_by = number
                break
            hits.append(self._now())
        return _standing([self._state(window, key) for window in windows], refused_by)

    def _hits_of(self, window: Window, key: str) -> deque[float]:
        """Return the hits that are still in the window."""
        hits = self._hits.setdefault((window.name, key), deque())
        self._hits.move_to_end((window.name, key))
        if len(self._hits) > MAX_KEYS:
            self._hits.popitem(last=False)
        while hits and hits[0] <= self._now() - window.seconds:
            hits.popleft()
        return hits

    def _state(self, window: Window, key: str) -> WindowState:
        hits = self._hits_of(window, key)
        oldest = hits[0] if hits else self._now() - window.seconds
        return WindowState(
            window=window,
            remaining=window.amount - len(hits),
            reset_seconds=oldest + window.seconds - self._now(),
        )


class FallbackRateLimiter:
    """`RateLimiterProtocol`: shared while that can be asked, else this process's own."""

    def __init__(self, shared: RateLimiterProtocol, own: RateLimiterProtocol) -> None:
        self._shared = shared
        self._own = own

    async def hit(self, windows: Sequence[Window], key: str) -> Standing:
        try:
            return await self._shared.hit(windows, key)
        except StoreUnavailableError:
            return await self._own.hit(windows, key)


def _item(window: Window) -> RateLimitItemPerSecond:
    return RateLimitItemPerSecond(window.amount, window.seconds, namespace=window.name)


def _standing(states: Sequence[WindowState], refused_by: int | None) -> Standing:
    return Standing(states=states, refused_by=None if refused_by is None else states[refused_by])
