"""The gateway's own Redis: small, with short waits, and left alone for a moment when it fails.

It holds limits and idempotency keys alone. Where it is away each process keeps its own, so nothing
here may make a request wait for long.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

import structlog
from prometheus_client import Gauge
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ResponseError

from service_libs.breakers import Breaker
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import RedisPolicy, connect, script_text, translated
from service_libs.redis.refusals import RedisNames

TIMEOUT_SECONDS = 0.25
ROUND_TRIP_SECONDS = 2 * TIMEOUT_SECONDS  # for all answers together, however slowly they drip
OPEN_SECONDS = 2.0  # of the breaker
MAX_CONNECTIONS = 32
MAX_TOGETHER = 200  # calls in one round trip
NAMES = RedisNames(
    service="the gateway",
    setting="API_GATEWAY_REDIS_URL",
    key_patterns="gateway:*",
    server_run="gateway:server_run",
)

Arguments = Sequence[str | int | float]

logger = structlog.get_logger(__name__)


class Script:
    """A Lua script beside this module, and the name that the server knows it by."""

    def __init__(self, name: str) -> None:
        self.text = script_text(__package__, name)
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True, eq=False)
class _Call:
    script: Script
    arguments: Arguments
    answer: asyncio.Future[Any]

    def settle(self, answer: object) -> None:
        if self.answer.done():
            return  # its caller has gone
        if isinstance(answer, BaseException):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class GatewayRedis:
    """Runs scripts; those that are called in one turn of the event loop share a round trip.

    Each costs hardly more than what it does that way, however many ask.
    """

    def __init__(self, url: str, fallback: Gauge) -> None:
        policy = RedisPolicy(timeout_seconds=TIMEOUT_SECONDS, max_connections=MAX_CONNECTIONS)
        self._client: Redis = connect(url, policy, NAMES)
        self._breaker = Breaker("redis", TIMEOUT_SECONDS, open_seconds=OPEN_SECONDS)
        self._fallback = fallback
        self._is_away = False
        self._waiting: list[_Call] = []
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, script: Script, keys: Sequence[str], arguments: Arguments) -> Any:  # noqa: ANN401 - whatever the script returns
        """Return what the script returns.

        Raises:
            StoreUnavailableError: there is no answer, or nobody was asked: it fails too often.
        """
        loop = asyncio.get_running_loop()
        call = _Call(script, (len(keys), *keys, *arguments), loop.create_future())
        if not self._waiting:
            loop.call_soon(self._start)
        self._waiting.append(call)
        return await call.answer

    async def ping(self) -> None:
        """Return if it answers.

        Raises:
            StoreUnavailableError: it does not.
        """
        async with translated(NAMES):
            await self._client.ping()

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*self._running)
        await self._client.aclose()

    def _start(self) -> None:
        calls, self._waiting = self._waiting, []
        for first in range(0, len(calls), MAX_TOGETHER):
            part = calls[first : first + MAX_TOGETHER]
            task = asyncio.create_task(self._run_together(part), name="ask redis")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run_together(self, calls: Sequence[_Call]) -> None:
        try:
            with self._breaker.asking():
                async with translated(NAMES), asyncio.timeout(ROUND_TRIP_SECONDS):
                    answers = await self._exchange(calls)
        except StoreUnavailableError as exc:
            self._show(is_away=True, reason=str(exc))
            answers = [StoreUnavailableError(str(exc)) for _ in calls]
        else:
            self._show(is_away=False)
        for call, answer in zip(calls, answers, strict=True):
            call.settle(answer)

    async def _exchange(self, calls: Sequence[_Call]) -> list[Any]:
        pool = self._client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call] # redis-py's gap
        try:
            return await _call_all(connection, calls)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)

    def _show(self, *, is_away: bool, reason: str = "") -> None:
        self._fallback.set(is_away)
        if is_away is not self._is_away:
            self._is_away = is_away
            log = logger.warning if is_away else logger.info
            log("limits_per_process" if is_away else "limits_shared", reason=reason or None)


class GatewayRedisProbe:
    """Asks whether the gateway's own Redis answers.

    Its name is none of the stores that a service cannot do without.
    """

    name = "redis_gateway"

    def __init__(self, redis: GatewayRedis) -> None:
        self._redis = redis

    async def ping(self) -> None:
        await self._redis.ping()


async def _call_all(connection: AbstractConnection, calls: Sequence[_Call]) -> list[Any]:
    """Return the answers, an exception where a script was refused; load scripts that are new.

    A server that was started again, or emptied, has forgotten them.
    """
    answers = await _send(connection, [("EVALSHA", c.script.digest, *c.arguments) for c in calls])
    unknown = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if unknown:
        commands = [("EVAL", calls[n].script.text, *calls[n].arguments) for n in unknown]
        for number, answer in zip(unknown, await _send(connection, commands), strict=True):
            answers[number] = answer
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers


async def _send(connection: AbstractConnection, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    packed = connection.pack_commands(commands)
    await connection.send_packed_command(packed)
    answers: list[Any] = []
    for _ in commands:
        try:
            answers.append(await connection.read_response())
        except ResponseError as exc:
            answers.append(exc)
    return answers
