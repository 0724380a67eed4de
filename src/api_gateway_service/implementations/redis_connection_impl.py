"""The gateway's own Redis: small, with short waits, and left alone for a moment when it fails.

It holds limits and idempotency keys alone. Where it is away each process keeps its own, so nothing
here may make a request wait for long.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from prometheus_client import Gauge
from redis.asyncio import Redis

from service_libs.breakers import Breaker
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import RedisPolicy, connect, translated
from service_libs.redis.refusals import RedisNames

TIMEOUT_SECONDS = 0.25
OPEN_SECONDS = 2.0  # of the breaker
MAX_CONNECTIONS = 64
NAMES = RedisNames(
    service="the gateway",
    setting="API_GATEWAY_REDIS_URL",
    key_patterns="gateway:*",
    server_run="gateway:server_run",
)

logger = structlog.get_logger(__name__)

Answer = TypeVar("Answer")


class GatewayRedis:
    """A connection pool behind a breaker; shows whether it is in use."""

    def __init__(self, url: str, fallback: Gauge) -> None:
        policy = RedisPolicy(timeout_seconds=TIMEOUT_SECONDS, max_connections=MAX_CONNECTIONS)
        self.client: Redis = connect(url, policy, NAMES)
        self._breaker = Breaker("redis", TIMEOUT_SECONDS, open_seconds=OPEN_SECONDS)
        self._fallback = fallback
        self._is_away = False

    async def ask(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask, unless it has failed too often lately.

        Raises:
            StoreUnavailableError: there is no answer.
        """
        try:
            with self._breaker.asking():
                async with translated(NAMES):
                    answer = await ask()
        except StoreUnavailableError as exc:
            self._show(is_away=True, reason=str(exc))
            raise
        self._show(is_away=False)
        return answer

    async def ping(self) -> None:
        """Return if it answers.

        Raises:
            StoreUnavailableError: it does not.
        """
        async with translated(NAMES):
            await self.client.ping()

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()

    def _show(self, *, is_away: bool, reason: str = "") -> None:
        self._fallback.set(is_away)
        if is_away is not self._is_away:
            self._is_away = is_away
            log = logger.warning if is_away else logger.info
            log("limits_per_process" if is_away else "limits_shared", reason=reason or None)


class GatewayRedisProbe:
    """Asks whether the gateway's own Redis answers.

    Its name is none of the stores that a service cannot do without.
    """

    name = "redis_gateway"

    def __init__(self, redis: GatewayRedis) -> None:
        self._redis = redis

    async def ping(self) -> None:
        await self._redis.ping()
