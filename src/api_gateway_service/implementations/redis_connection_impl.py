"""The gateway's own Redis: small, with short waits, and left alone for a moment when it fails.

It holds limits and idempotency keys alone. While it is away each process keeps its own, so nothing
here may make a request wait for long.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any, cast

import structlog
from prometheus_client import Gauge
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from service_libs.breakers import Breaker
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import (
    KnownConnection,
    RedisCommand,
    RedisPolicy,
    ask_each,
    connect,
    translated,
)
from service_libs.redis.refusals import RedisNames, describe

TIMEOUT_SECONDS = 0.5  # for all replies to a batch, however slowly they drip
OPEN_SECONDS = 2.0  # of the breaker
CLOSED = "The client was closed."
MAX_CONNECTIONS = 4  # of which one is used, but for moments
NAMES = RedisNames(
    service="the gateway",
    setting="API_GATEWAY_REDIS_URL",
    key_patterns="gateway:*",
    server_run="gateway:server_run",
)

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, and the name by which a server that has it knows it."""

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A command that waits for its reply."""

    command: RedisCommand
    reply: asyncio.Future[Any]


class RedisBatches:
    """Sends together what is asked at the same time.

    redis-py lends each command a connection, and sends it alone: that is most of what a command
    costs. Here the commands that come while others are on their way go next, together. Each has a
    reply or a refusal of its own; where there is none, all have that error.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._waiting: list[_Asked] = []
        self._sending: asyncio.Task[None] | None = None

    async def ask(self, *command: str | int | bytes) -> object:
        """Return the reply.

        Raises:
            RedisError: it is a refusal, or there is none.
            OSError: there is none.
            TimeoutError: it did not come in time.
        """
        asked = _Asked(command, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all(), name="ask redis")
        return await asked.reply

    async def close(self) -> None:
        """Tell whoever still waits, and close the connections."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending})
            self._end()  # where it had not begun
        await self._pool.disconnect()

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                batch = [asked for asked in self._waiting if not asked.reply.done()]
                self._waiting = []
                await self._send(batch)
        finally:
            self._end()

    def _end(self) -> None:
        self._sending = None
        for asked in self._waiting:  # none, but where sending was cancelled or has failed
            _hand_out(asked, RedisConnectionError(CLOSED))
        self._waiting = []

    async def _send(self, batch: list[_Asked]) -> None:
        replies: list[Any] = []
        error: Exception = RedisConnectionError(CLOSED)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                replies = await self._exchange([asked.command for asked in batch])
        except (RedisError, OSError, TimeoutError) as exc:
            error = exc
        finally:
            for asked, reply in zip(batch, replies or [error] * len(batch), strict=True):
                _hand_out(asked, reply)

    async def _exchange(self, commands: list[RedisCommand]) -> list[Any]:
        try:
            return await self._exchange_once(commands)
        except RedisConnectionError:
            # The server may have closed it meanwhile. It may also have run them, and its replies
            # are lost: then a hit counts twice, and a claim is known by its token.
            return await self._exchange_once(commands)

    async def _exchange_once(self, commands: list[RedisCommand]) -> list[Any]:
        connection = await self._pool.get_connection()
        try:
            return await ask_each(cast("KnownConnection", connection), commands)
        finally:
            await self._pool.release(connection)


def _hand_out(asked: _Asked, reply: object) -> None:
    if asked.reply.done():  # who asked has gone
        return
    if isinstance(reply, Exception):
        asked.reply.set_exception(reply)
    else:
        asked.reply.set_result(reply)


class GatewayRedis:
    """The gateway's Redis behind a breaker, and its probe.

    A metric and the log show whether it is in use. The gateway serves without it: the name is not
    among those that make a service unready.
    """

    name = "redis_gateway"

    def __init__(self, url: str, fallback: Gauge) -> None:
        policy = RedisPolicy(timeout_seconds=TIMEOUT_SECONDS, max_connections=MAX_CONNECTIONS)
        pool = connect(url, policy, NAMES).connection_pool
        pool.connection_kwargs["socket_timeout"] = None  # a batch is timed, not each reply in it
        self.batches = RedisBatches(pool)
        self._breaker = Breaker("redis", TIMEOUT_SECONDS, open_seconds=OPEN_SECONDS)
        self._fallback = fallback
        self._is_away = False

    async def run(self, script: Script, keys: Sequence[str], *args: str | int) -> object:
        """Return what the script does.

        Raises:
            StoreUnavailableError: Redis gives no answer, or has failed too often to be asked now.
        """
        try:
            with self._breaker.asking():
                reply = await self._run(script, len(keys), *keys, *args)
        except StoreUnavailableError as exc:
            self._show(is_away=True, reason=str(exc))
            raise
        self._show(is_away=False)
        return reply

    async def close(self) -> None:
        """Tell whoever still waits, and close the connections."""
        await self.batches.close()

    async def ping(self) -> None:
        async with translated(NAMES):
            await self.batches.ask("PING")

    async def _run(self, script: Script, *args: str | int) -> object:
        try:
            try:
                return await self.batches.ask("EVALSHA", script.digest, *args)
            except NoScriptError:  # a server that has forgotten it, and keeps it from now on
                return await self.batches.ask("EVAL", script.text, *args)
        except (RedisError, OSError, TimeoutError) as exc:
            raise StoreUnavailableError(describe(exc, NAMES)) from exc

    def _show(self, *, is_away: bool, reason: str | None = None) -> None:
        if is_away is not self._is_away:
            self._is_away = is_away
            self._fallback.set(is_away)
            log = logger.warning if is_away else logger.info
            log("limits_per_process" if is_away else "limits_shared", reason=reason)
