"""Connections to Redis: with bounded waits, and to a primary only."""

import secrets
import time
from collections.abc import AsyncIterator, Sequence
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

from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.address import read_url
from service_libs.redis.refusals import RedisNames, describe
from service_libs.redis.transactions import RedisCommand

IS_REPLICA = "Redis is a replica, which takes no writes."


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisPolicy:
    """How long to wait and how often to try.

    Attributes:
        timeout_seconds: longest wait for one answer.
        max_connections: size of each pool.
        max_attempts: tries of a transaction before it takes its lane.
        backoff_seconds: pause after the first lost try; doubles, with jitter.
        lane_seconds: longest time for which others give way to one writer.
    """

    timeout_seconds: float = 2.0
    max_connections: int = 50
    max_attempts: int = 3
    backoff_seconds: float = 0.005
    lane_seconds: float = 3.0


class KnownConnection(AbstractConnection):
    """A connection that knows whose data it leads to.

    A primary that is made a replica keeps its clients; what they want is wherever the address leads
    to by now. So the connection closes when its server says that it takes no writes.

    Attributes:
        server_run: the name of the server's data; empty after connecting, until it was asked.
        recognised_at: when it was asked last, in monotonic seconds.
    """

    server_run: str = ""
    recognised_at: float = 0.0

    async def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - as in redis-py
        self.server_run = ""
        await super().on_connect_check_health(check_health)

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as in redis-py
        try:
            return await super().read_response(*args, **kwargs)
        except ReadOnlyError:
            await self.disconnect(nowait=True)
            raise

    def recognise(self, server_run: str) -> None:
        """Note whose data the server has now."""
        self.server_run, self.recognised_at = server_run, time.monotonic()


def connect(
    url: str, policy: RedisPolicy, names: RedisNames, *, decode_responses: bool = True
) -> Redis:
    """Return a client with a pool of its own; opens no connection yet.

    One retry only, for a pooled connection that the server has closed since: waiting longer is for
    callers, who know whether they can.
    """
    pool = BlockingConnectionPool.from_url(
        read_url(url, setting=names.setting).text,
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
    pool.connection_class = type(made.__name__, (KnownConnection, made), {})
    return Redis.from_pool(pool)


def script_text(package: str, name: str) -> str:
    """Return the Lua script of that name in the package."""
    return files(package).joinpath(f"{name}.lua").read_text(encoding="utf-8")


_RECOGNISE = script_text(__package__, "recognise")


def recognise_command(names: RedisNames) -> RedisCommand:
    """Return the command that names the server's data; the name is empty for a replica."""
    return ("EVAL", _RECOGNISE, 1, names.server_run, secrets.token_hex(8))


async def execute(pipe: Pipeline, commands: Sequence[RedisCommand]) -> list[Any]:
    """Run the commands together and return their replies."""
    for command in commands:
        pipe.pipeline_execute_command(*command)  # type: ignore[no-untyped-call] # redis-py's gap
    return await pipe.execute()


@asynccontextmanager
async def translated(names: RedisNames) -> AsyncIterator[None]:
    """Raise `StoreUnavailableError` for whatever the driver raises; it names what is refused."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as exc:
        raise StoreUnavailableError(describe(exc, names)) from exc
