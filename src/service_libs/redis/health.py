"""Whether Redis answers, can be given state to keep, and lets its user do what a service does."""

from collections.abc import Sequence

import structlog
from redis.exceptions import ResponseError

from service_libs.exceptions import StoreUnavailableError, TransientError
from service_libs.redis.connections import (
    IS_REPLICA,
    RedisCommand,
    RedisPolicy,
    connect,
    translated,
)
from service_libs.redis.refusals import RedisNames, describe, is_refusal

logger = structlog.get_logger(__name__)


class RedisProbe:
    """Asks whether Redis answers; warns when one comes up that may lose state as it is set up.

    Every command that the service uses is rehearsed. Inside MULTI the server looks at the rights to
    a command and its keys when it queues it, and DISCARD forgets all of them. So a right that is
    missing is known before the first event needs it.

    Args:
        rehearsed: the commands; what they are about need not exist.
        watched: keys that would be watched together; in a cluster they are rarely in one place.
    """

    name = "redis"

    def __init__(
        self,
        url: str,
        policy: RedisPolicy,
        names: RedisNames,
        *,
        rehearsed: Sequence[RedisCommand],
        watched: Sequence[str],
    ) -> None:
        self._names = names
        self._commands: list[RedisCommand] = [
            ("WATCH", *watched),  # ends with DISCARD
            ("MULTI",),
            *rehearsed,
            ("DISCARD",),
        ]
        self._redis = connect(url, policy, names)
        self._is_advised = False

    async def ping(self) -> None:
        try:
            async with translated(self._names):
                await self._check_role()
                await self._rehearse()
                if not self._is_advised:
                    await self._advise()
        except TransientError:
            self._is_advised = False  # it may be another server by then
            raise

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()

    async def _check_role(self) -> None:
        info = await self._redis.info("replication")
        if info["role"] != "master":
            await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise StoreUnavailableError(IS_REPLICA)

    async def _rehearse(self) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for name, *arguments in self._commands:
                # redis-py makes no reply of a command that it knows out of what is not one: a name
                # in bytes is none that it knows.
                pipe.execute_command(str(name).encode(), *arguments)
            replies = await pipe.execute(raise_on_error=False)
        for command, reply in zip(self._commands, replies, strict=True):
            if is_refusal(reply):
                refused = describe(reply, self._names, str(command[0]))
                raise StoreUnavailableError(refused) from reply

    async def _advise(self) -> None:
        for danger in await self._find_misconfigurations():
            logger.warning("redis_may_lose_state", reason=danger)
        self._is_advised = True

    async def _find_misconfigurations(self) -> list[str]:
        """Return what of the server's configuration endangers state; empty when all is well."""
        wanted = {"maxmemory-policy": "noeviction", "appendonly": "yes"}
        try:
            known = await self._redis.config_get(*wanted)
        except ResponseError:  # a managed server may hide its configuration
            return ["the configuration cannot be read"]
        return [
            f"{name} is {known.get(name)}, should be {value}"
            for name, value in wanted.items()
            if known.get(name) != value
        ]
