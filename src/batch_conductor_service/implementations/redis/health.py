"""Whether Redis answers, and whether what answers can be trusted with state."""

import structlog

from batch_conductor_service.exceptions import TransientError
from batch_conductor_service.implementations.redis.client import RedisProbe

logger = structlog.get_logger(__name__)


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
