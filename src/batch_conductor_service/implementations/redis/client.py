"""Redis with optimistic transactions, scripts, and readings that know whose data they saw."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from redis.commands.core import AsyncScript
from redis.exceptions import WatchError

from batch_conductor_service.exceptions import StoreUnavailableError
from batch_conductor_service.failpoints import failpoint
from batch_conductor_service.implementations.redis.connections import (
    IS_REPLICA,
    RedisPolicy,
    connect,
    execute,
    is_primary,
    life_of,
    script_text,
    translated,
)
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.port_values import RedisCommand

# Read with everything else, in the same snapshot: what the server is, and whose data it has.
_IDENTIFY: tuple[RedisCommand, ...] = (("INFO", "server"), ("INFO", "replication"))
_IDENTITY = re.compile(r"^(run_id|role|master_replid):(\w+)", re.MULTILINE)


class RedisClient:
    """`AtomicRedisClientProtocol` on redis-py.

    Reads have a pool of their own: a transaction that holds a connection while it reads cannot
    starve.
    """

    def __init__(self, url: str, policy: RedisPolicy, metrics: Metrics) -> None:
        self._policy = policy
        self._metrics = metrics
        self._life = ""
        self._redis = connect(url, policy)
        self._redis.set_response_callback("INFO", _identity_in)
        self._transactions = connect(url, policy)
        self._scripts: dict[str, AsyncScript] = {}

    @property
    def life(self) -> str:
        return self._life

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
        await self._transactions.aclose()

    async def read(self, commands: Sequence[RedisCommand]) -> list[Any]:
        async with translated(), self._redis.pipeline(transaction=True) as pipe:
            *replies, server, replication = await execute(pipe, [*commands, *_IDENTIFY])
            life = await self._recognise(server | replication)
        self._life = life  # last: until the caller looks at it, no other reading can come between
        return replies

    async def scan(self, pattern: str) -> list[str]:
        """Return all keys that match: walks the whole keyspace, so for rare repairs only."""
        async with translated():
            return [key async for key in self._redis.scan_iter(match=pattern, count=1000)]

    async def transact(
        self, watch: Sequence[str], compose: Callable[[], Awaitable[Sequence[RedisCommand]]]
    ) -> list[Any] | None:
        for attempt in range(self._policy.max_attempts):
            results = await self._try_once(watch, compose)
            if results is not None:
                self._count("contended" if attempt else "committed", attempt)
                return results
            await asyncio.sleep(self._pause_seconds(attempt))
        self._count("fell_back", self._policy.max_attempts)
        return None

    async def run_script(
        self, name: str, keys: Sequence[str], arguments: Sequence[str | bytes | int]
    ) -> str | bytes | int | list[str] | None:
        async with translated():
            result: str | bytes | int | list[str] | None = await self._script(name)(
                keys=list(keys), args=list(arguments)
            )
            return result

    async def _recognise(self, info: Mapping[str, str]) -> str:
        """Return the life of the server that has just answered.

        Raises:
            StoreUnavailableError: it is a replica, of whose data nobody knows how old they are.
        """
        if not is_primary(info):
            await self._leave()
            raise StoreUnavailableError(IS_REPLICA)
        life = life_of(info)
        if self._life not in ("", life):
            await self._leave()
        return life

    async def _leave(self) -> None:
        """Have every connection made anew: the address may lead elsewhere by now.

        One that is in use is closed only afterwards. Closed under a transaction, it would come back
        without what that watches, and redis-py would not say so.
        """
        for client in (self._redis, self._transactions):
            pool = client.connection_pool
            await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call] # redis-py's gap
            await pool.disconnect(inuse_connections=False)

    async def _try_once(
        self, watch: Sequence[str], compose: Callable[[], Awaitable[Sequence[RedisCommand]]]
    ) -> list[Any] | None:
        life = self._life
        try:
            async with translated(), self._transactions.pipeline(transaction=True) as pipe:
                await pipe.watch(*watch)
                failpoint("redis.watched")
                commands = await compose()
                failpoint("redis.composed")
                if life not in ("", self._life):  # what was composed may be of another server
                    return None
                results = await execute(pipe, commands) if commands else []
                failpoint("redis.executed")
                return results
        except StoreUnavailableError as exc:
            if isinstance(exc.__cause__, WatchError):
                return None
            self._metrics.redis_transactions.labels("failed").inc()
            raise

    def _pause_seconds(self, attempt: int) -> float:
        longest: float = self._policy.backoff_seconds * 2**attempt
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret

    def _count(self, outcome: str, retries: int) -> None:
        self._metrics.redis_transactions.labels(outcome).inc()
        self._metrics.redis_transaction_retries.labels(outcome).inc(retries)

    def _script(self, name: str) -> AsyncScript:
        if name not in self._scripts:
            self._scripts[name] = self._redis.register_script(script_text(name))
        return self._scripts[name]


def _identity_in(response: Any, **_: Any) -> dict[str, str]:  # noqa: ANN401 - as in redis-py
    """Return what of INFO's hundred fields is asked of every reading."""
    return dict(_IDENTITY.findall(response))
