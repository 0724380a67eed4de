"""Redis, with bounded waits, optimistic transactions, and scripts."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError, ResponseError, WatchError

from batch_conductor_service.exceptions import StoreUnavailableError
from batch_conductor_service.failpoints import failpoint
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.port_values import RedisCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisPolicy:
    """How long to wait and how often to try.

    Attributes:
        timeout_seconds: longest wait for one answer.
        max_connections: size of each pool.
        max_attempts: tries of a transaction before it falls back to the script.
        backoff_seconds: pause after the first lost try; doubles, with jitter.
    """

    timeout_seconds: float = 2.0
    max_connections: int = 50
    max_attempts: int = 5
    backoff_seconds: float = 0.005


def connect(
    url: str,
    policy: RedisPolicy,
    *,
    decode_responses: bool = True,
    on_connect: Callable[[Connection], Awaitable[None]] | None = None,
) -> Redis:
    """Return a client with a pool of its own; opens no connection yet.

    One retry only, for a pooled connection that the server has closed since: waiting longer is for
    callers, who know whether they can.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=policy.max_connections,
        timeout=policy.timeout_seconds,
        socket_timeout=policy.timeout_seconds,
        socket_connect_timeout=policy.timeout_seconds,
        retry=Retry(NoBackoff(), 1),
        decode_responses=decode_responses,
        encoding_errors="replace",
        redis_connect_func=on_connect,
    )
    return Redis.from_pool(pool)


def script_text(name: str) -> str:
    """Return the Lua script of that name."""
    return files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")


async def execute(pipe: Pipeline, commands: Sequence[RedisCommand]) -> list[Any]:
    """Run the commands together and return their replies."""
    for command in commands:
        pipe.pipeline_execute_command(*command)  # type: ignore[no-untyped-call] # redis-py's gap
    return await pipe.execute()


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Raise `StoreUnavailableError` for whatever the driver raises."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as exc:
        raise StoreUnavailableError("Redis cannot be reached or refuses.") from exc


def life_of(info: Mapping[str, Any]) -> str:
    """Return what names one unbroken life of the data: the process, and whom it took over from."""
    return f"{info['run_id']}:{info['master_replid']}"


class RedisClient:
    """`AtomicRedisClientProtocol` on redis-py.

    Reads have a pool of their own: a transaction that holds a connection while it reads cannot
    starve.
    """

    def __init__(self, url: str, policy: RedisPolicy, metrics: Metrics) -> None:
        self._policy = policy
        self._metrics = metrics
        self._life = ""
        self._redis = connect(url, policy, on_connect=self._learn_life)
        self._transactions = connect(url, policy, on_connect=self._learn_life)
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
            return await execute(pipe, commands)

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

    async def _learn_life(self, connection: Connection) -> None:
        """Learn the run of the server before anything is asked of it over the connection."""
        await connection.on_connect()
        await connection.send_command("INFO")
        reply = await connection.read_response()
        text = reply.decode() if isinstance(reply, bytes) else str(reply)
        self._life = life_of(dict(re.findall(r"^(\w+):(\w+)", text, re.MULTILINE)))

    async def _try_once(
        self, watch: Sequence[str], compose: Callable[[], Awaitable[Sequence[RedisCommand]]]
    ) -> list[Any] | None:
        try:
            async with translated(), self._transactions.pipeline(transaction=True) as pipe:
                await pipe.watch(*watch)
                failpoint("redis.watched")
                commands = await compose()
                failpoint("redis.composed")
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


class RedisProbe:
    """Whether Redis answers, and whether it is set up to lose nothing."""

    name = "redis"

    def __init__(self, url: str, policy: RedisPolicy) -> None:
        self._redis = connect(url, policy)

    async def ping(self) -> None:
        async with translated():
            await self._redis.ping()

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
