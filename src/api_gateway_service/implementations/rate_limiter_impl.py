"""Limits over sliding windows: shared by all replicas in Redis, and per process without it."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from api_gateway_service.implementations.redis_connection_impl import GatewayRedis, Script
from api_gateway_service.models.values import Standing, Window, WindowState
from api_gateway_service.protocols import RateLimiterProtocol
from service_libs.exceptions import StoreUnavailableError

MAX_KEYS = 50_000  # remembered by a process; the longest unused go first

_HIT = Script("hit")


class RedisRateLimiter:
    """`RateLimiterProtocol` in Redis, for all replicas; one round trip for all windows.

    Raises `StoreUnavailableError` where Redis does not answer.
    """

    def __init__(self, redis: GatewayRedis) -> None:
        self._redis = redis

    async def hit(self, windows: Sequence[Window], key: str) -> Standing:
        keys = [_key(window, key) for window in windows]
        arguments = [n for one in windows for n in (one.amount, one.seconds * 1000)]
        refused_by, *counts = await self._redis.run(_HIT, keys, arguments)
        states = [
            WindowState(
                window=window,
                remaining=max(0, window.amount - counts[2 * number]),
                reset_seconds=counts[2 * number + 1] / 1000,
            )
            for number, window in enumerate(windows)
        ]
        return _standing(states, refused_by - 1 if refused_by else None)


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


def _key(window: Window, key: str) -> str:
    """Return the list of a window's hits; it is kept for as long as the window is."""
    return f"gateway:limit:{window.name}:{key}"


def _standing(states: Sequence[WindowState], refused_by: int | None) -> Standing:
    return Standing(states=states, refused_by=None if refused_by is None else states[refused_by])
