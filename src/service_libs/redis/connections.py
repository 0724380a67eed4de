"""Connections to Redis: with bounded waits, to a primary only, and how they are read over."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.address import read_url
from service_libs.redis.refusals import RedisNames, describe

IS_REPLICA = "Redis is a replica, which takes no writes."
# Longest time for which a server is taken for the same; no failover is faster.
RECOGNISE_SECONDS = 0.1

RedisCommand = tuple[str | int | bytes, ...]

# redis-py's asynchronous client packs in Python. The stub says that a command has one part.
_pack = cast("Callable[[RedisCommand], bytes]", pack_command)


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

    async def read_replies(self, count: int) -> list[Any]:
        """Return the next replies, refusals among them, within the time that one may take.

        redis-py's own reading of one arms a timer, which costs more than the reply. As there,
        whatever goes wrong closes the connection: the rest would be taken for another's replies.
        """
        parser: Any = self._parser  # of whose classes the base has no reading
        try:
            async with asyncio.timeout(self.socket_timeout):
                return [await parser.read_response() for _ in range(count)]
        except TimeoutError as exc:
            await self.disconnect(nowait=True)
            raise RedisTimeoutError("The server did not answer in time.") from exc
        except OSError as exc:
            await self.disconnect(nowait=True)
            raise RedisConnectionError("The connection was lost.") from exc
        except BaseException:
            await self.disconnect(nowait=True)
            raise

    def recognise(self, server_run: str) -> None:
        """Note whose data the server has now."""
        self.server_run, self.recognised_at = server_run, time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisReading:
    """The replies to some commands, and whose data they are of.

    `server_run` names the data that one run of a server has: a restart or a failover gives another
    name, for the last that was acknowledged may be lost then.
    """

    replies: list[Any]
    server_run: str


class GiveWayError(Exception):
    """Another writer has the lane: look again in a moment."""


class RedisConnections:
    """Lends connections to one server, and reads over them.

    Commands are written to a connection together, and their replies read together. A reading says
    whose data it saw.
    """

    def __init__(self, url: str, policy: RedisPolicy, names: RedisNames) -> None:
        self._policy = policy
        self._names = names
        self._redis = connect(url, policy, names)
        self._server_run = ""

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    async def read(self, commands: Sequence[RedisCommand]) -> RedisReading:
        try:
            return await self._read_once(commands)
        except StoreUnavailableError as exc:
            if not isinstance(exc.__cause__, RedisConnectionError):
                raise
        return await self._read_once(commands)  # over a connection that was not closed meanwhile

    async def ask(
        self, connection: KnownConnection, commands: Sequence[RedisCommand]
    ) -> RedisReading:
        """Return the replies, and whose data they are of.

        Raises:
            StoreUnavailableError: the server is a replica, or became another one meanwhile.
        """
        is_due = (
            connection.server_run != self._server_run
            or not connection.server_run
            or time.monotonic() > connection.recognised_at + RECOGNISE_SECONDS
        )
        recognise: list[RedisCommand] = [recognise_command(self._names)] if is_due else []
        replies = await exchange(connection, [*recognise, *commands])
        if is_due:
            await self._recognise(connection, replies.pop(0))
        return RedisReading(replies=replies, server_run=connection.server_run)

    async def _read_once(self, commands: Sequence[RedisCommand]) -> RedisReading:
        async with translated(self._names), self._lent() as connection:
            return await self.ask(connection, commands)

    async def _recognise(self, connection: KnownConnection, server_run: str) -> None:
        if not server_run:
            await self._leave()
            raise StoreUnavailableError(IS_REPLICA)
        connection.recognise(server_run)
        if self._server_run not in ("", server_run):
            await self._leave()
        self._server_run = server_run

    async def _leave(self) -> None:
        """Have every connection made again: the address may lead elsewhere by now.

        One that is in use is closed only when it is returned: a transaction on it goes on where it
        began.
        """
        pool = self._redis.connection_pool
        await pool.update_active_connections_for_reconnect()
        await pool.disconnect(inuse_connections=False)

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[KnownConnection]:
        """Lend a connection; one that something went wrong on, or still watches, is closed."""
        pool = self._redis.connection_pool
        lent = await pool.get_connection()
        connection = cast("KnownConnection", lent)
        try:
            yield connection
        except GiveWayError:
            raise
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)


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
        pipe.pipeline_execute_command(*command)
    return await pipe.execute()


@asynccontextmanager
async def translated(names: RedisNames) -> AsyncIterator[None]:
    """Raise `StoreUnavailableError` for whatever the driver raises; it names what is refused."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as exc:
        raise StoreUnavailableError(describe(exc, names)) from exc


async def exchange(connection: KnownConnection, commands: Sequence[RedisCommand]) -> list[Any]:
    """Write the commands at once and return their replies.

    Raises:
        ConnectionError: the connection is not the one that it was when it was lent.
        ResponseError: the first refusal, after all replies are read, so that none is left over.
    """
    if not connection.is_connected:  # connected again in silence, it would not watch any more
        raise RedisConnectionError("The connection was closed.")
    replies = await ask_each(connection, commands)
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply
    return replies


async def ask_each(connection: KnownConnection, commands: Sequence[RedisCommand]) -> list[Any]:
    """Write the commands at once and return their replies, refusals among them."""
    await connection.send_packed_command(b"".join(map(_pack, commands)))
    replies = await connection.read_replies(len(commands))
    if any(isinstance(reply, ReadOnlyError) for reply in replies):
        await connection.disconnect(nowait=True)
    return replies


def dict_of(reply: Any) -> dict[str, str]:  # noqa: ANN401 - a map or a list, by the protocol
    """Return the fields of a hash, which come as a flat list over the older protocol."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
