"""The gateway's own Redis: small, with short waits, and left alone for a moment when it fails.

It holds limits and idempotency keys alone. While it is away each process keeps its own, so nothing
here may make a request wait for long.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from prometheus_client import Gauge
from redis.asyncio import Redis

from service_libs.breakers import Breaker
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import RedisPolicy, connect, translated
from service_libs.redis.refusals import RedisNames

TIMEOUT_SECONDS = 0.5  # for one answer of Redis, or for a free connection
QUESTION_SECONDS = 2 * TIMEOUT_SECONDS  # for all answers to a question, however slowly they drip
OPEN_SECONDS = 2.0  # of the breaker
MAX_CONNECTIONS = 100
NAMES = RedisNames(
    service="the gateway",
    setting="API_GATEWAY_REDIS_URL",
    key_patterns="gateway:*",
    server_run="gateway:server_run",
)

Answer = TypeVar("Answer")

logger = structlog.get_logger(__name__)


class GatewayRedis:
    """A client behind a breaker, and its probe. A metric and the log show whether it is in use.

    The gateway serves without it: the name is not among those that make a service unready.
    """

    name = "redis_gateway"

    def __init__(self, url: str, fallback: Gauge) -> None:
        policy = RedisPolicy(timeout_seconds=TIMEOUT_SECONDS, max_connections=MAX_CONNECTIONS)
        self.client: Redis = connect(url, policy, NAMES)
        self._breaker = Breaker("redis", TIMEOUT_SECONDS, open_seconds=OPEN_SECONDS)
        self._fallback = fallback
        self._is_away = False

    async def ask(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return what Redis answers.

        Raises:
            StoreUnavailableError: it gives no answer, or has failed too often to be asked now.
        """
        try:
            with self._breaker.asking():
                async with translated(NAMES), asyncio.timeout(QUESTION_SECONDS):
                    answer = await ask()
        except StoreUnavailableError as exc:
            self._show(is_away=True, reason=str(exc))
            raise
        self._show(is_away=False)
        return answer

    async def ping(self) -> None:
        async with translated(NAMES):
            await self.client.ping()

    def _show(self, *, is_away: bool, reason: str | None = None) -> None:
        if is_away is not self._is_away:
            self._is_away = is_away
            self._fallback.set(is_away)
            log = logger.warning if is_away else logger.info
            log("limits_per_process" if is_away else "limits_shared", reason=reason)
