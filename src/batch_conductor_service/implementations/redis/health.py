"""Whether Redis answers, and whether what answers can be trusted with state and lets us keep it."""

import structlog
from redis.exceptions import ResponseError

from batch_conductor_service.implementations.redis.connections import (
    IS_REPLICA,
    RedisPolicy,
    connect,
    translated,
)
from batch_conductor_service.implementations.redis.rights import rehearse
from service_libs.exceptions import StoreUnavailableError, TransientError

logger = structlog.get_logger(__name__)


class RedisProbe:
    """Whether Redis answers, and whether it is set up to lose nothing."""

    name = "redis"

    def __init__(self, url: str, policy: RedisPolicy) -> None:
        self._redis = connect(url, policy)

    async def ping(self) -> None:
        async with translated():
            info = await self._redis.info("replication")
            if info["role"] != "master":
                await self._redis.connection_pool.disconnect(inuse_connections=False)
                raise StoreUnavailableError(IS_REPLICA)
            await rehearse(self._redis)

    async def find_misconfigurations(self) -> list[str]:
        """Return what of the server's configuration endangers state; empty when all is well."""
        wanted = {"maxmemory-policy": "noeviction", "appendonly": "yes"}
        async with translated():
            try:
                known = await self._redis.config_get(*wanted)
            except ResponseError:  # a managed server may hide its configuration
                return ["the configuration cannot be read"]
        return [
            f"{name} is {known.get(name)}, should be {value}"
            for name, value in wanted.items()
            if known.get(name) != value
        ]

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()


class AdvisingRedisProbe:
    """Warns of a dangerous configuration whenever Redis comes up; it may be another one by then."""

    name = RedisProbe.name

    def __init__(self, probe: RedisProbe) -> None:
        self._probe = probe
        self._is_advised = False

    async def ping(self) -> None:
        try:
            await self._probe.ping()
            if not self._is_advised:
                await self._advise()
        except TransientError:
            self._is_advised = False
            raise

    async def _advise(self) -> None:
        for danger in await self._probe.find_misconfigurations():
            logger.warning("redis_may_lose_state", reason=danger)
        self._is_advised = True
