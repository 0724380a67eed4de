"""Connections to Redis: with bounded waits, and to a primary only."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError

from batch_conductor_service.exceptions import StoreUnavailableError
from batch_conductor_service.implementations.redis.address import read_url
from batch_conductor_service.implementations.redis.refusals import describe
from batch_conductor_service.port_values import RedisCommand

IS_REPLICA = "Redis is a replica, which takes no writes."


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


class _LeavesReplicas(AbstractConnection):
    """A connection that closes when its server says that it takes no writes.

    A primary that is made a replica keeps its clients; what they want is wherever the address leads
    to by now.
    """

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as in redis-py
        try:
            return await super().read_response(*args, **kwargs)
        except ReadOnlyError:
            await self.disconnect(nowait=True)
            raise


def connect(url: str, policy: RedisPolicy, *, decode_responses: bool = True) -> Redis:
    """Return a client with a pool of its own; opens no connection yet.

    One retry only, for a pooled connection that the server has closed since: waiting longer is for
    callers, who know whether they can.
    """
    pool = BlockingConnectionPool.from_url(
        read_url(url).text,
        max_connections=policy.max_connections,
        timeout=policy.timeout_seconds,
        socket_timeout=policy.timeout_seconds,
        socket_connect_timeout=policy.timeout_seconds,
        retry=Retry(NoBackoff(), 1),
        decode_responses=decode_responses,
        encoding_errors="replace",
    )
    # The URL decides the class of the connections: plain, TLS, or a socket in the file system.
    made = pool.connection_class
    pool.connection_class = type(made.__name__, (_LeavesReplicas, made), {})
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
    """Raise `StoreUnavailableError` for whatever the driver raises; it names what is refused."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as exc:
        raise StoreUnavailableError(describe(exc)) from exc


def life_of(info: Mapping[str, Any]) -> str:
    """Return what names one unbroken life of the data: the process, and whom it took over from."""
    return f"{info['run_id']}:{info['master_replid']}"


def is_primary(info: Mapping[str, Any]) -> bool:
    """Whether the server takes writes."""
    return bool(info["role"] == "master")
