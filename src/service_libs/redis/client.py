"""Redis with optimistic transactions, and readings that say whose data they saw.

Commands are written to a connection together and their replies read together: a transaction that
has its commands at hand takes two round trips, WATCH with what it reads, and MULTI to EXEC.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, cast

from prometheus_client import Counter
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import LockError, ReadOnlyError, RedisError, ResponseError

from service_libs.exceptions import StoreUnavailableError
from service_libs.failpoints import failpoint
from service_libs.redis.connections import (
    IS_REPLICA,
    KnownConnection,
    RedisPolicy,
    connect,
    recognise_command,
    translated,
)
from service_libs.redis.refusals import RedisNames
from service_libs.redis.transactions import Compose, GiveWayError, RedisCommand, RedisReading
from service_libs.timing import spread

# Longest time for which a server is taken for the same; no failover is faster.
RECOGNISE_SECONDS = 0.1


class TransactionMetrics(Protocol):
    """What is counted of transactions.

    Attributes:
        redis_transactions: by outcome: committed, contended, fell_back, failed.
        redis_transaction_retries: tries that lost, by the same outcome of the transaction.
    """

    redis_transactions: Counter
    redis_transaction_retries: Counter


class WatchedReader:
    """`RedisReaderProtocol`: what is read through it is watched until the transaction ends."""

    def __init__(
        self, client: "RedisClient", connection: KnownConnection, watch: Sequence[str]
    ) -> None:
        self._client = client
        self._connection = connection
        self._watch: RedisCommand | None = ("WATCH", *watch)

    async def read(self, commands: Sequence[RedisCommand]) -> RedisReading:
        watch, self._watch = self._watch, None
        first = [watch] if watch else []
        reading = await self._client.ask(self._connection, [*first, *commands])
        failpoint("redis.watched")
        return RedisReading(replies=reading.replies[len(first) :], server_run=reading.server_run)


class RedisClient:
    """`AtomicRedisClientProtocol` on redis-py's connections."""

    def __init__(
        self, url: str, policy: RedisPolicy, names: RedisNames, metrics: TransactionMetrics
    ) -> None:
        self._policy = policy
        self._names = names
        self._metrics = metrics
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

    async def transact(
        self,
        watch: Sequence[str],
        compose: Compose,
    ) -> list[Any] | None:
        for attempt in range(self._policy.max_attempts):
            results = await self._try_once(watch, compose)
            if results is not None:
                self._count("contended" if attempt else "committed", attempt)
                return results
            await asyncio.sleep(spread(self._policy.backoff_seconds * 2**attempt))
        return None

    async def transact_in_lane(
        self,
        lane: str,
        watch: Sequence[str],
        compose: Compose,
    ) -> list[Any]:
        lock = self._redis.lock(
            lane, timeout=self._policy.lane_seconds, sleep=self._policy.backoff_seconds
        )
        async with translated(self._names):
            await lock.acquire()
        try:
            results = await self._try_once(watch, compose)
            while results is None:  # the others that began before give way from now on
                results = await self._try_once(watch, compose)
        finally:
            await self._leave_lane(lock)
        self._count("fell_back", self._policy.max_attempts)
        return results

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
        replies = await _exchange(connection, [*recognise, *commands])
        if is_due:
            await self._recognise(connection, replies.pop(0))
        return RedisReading(replies=replies, server_run=connection.server_run)

    async def _read_once(self, commands: Sequence[RedisCommand]) -> RedisReading:
        async with translated(self._names), self._connection() as connection:
            return await self.ask(connection, commands)

    async def _try_once(
        self,
        watch: Sequence[str],
        compose: Compose,
    ) -> list[Any] | None:
        try:
            async with translated(self._names), self._connection() as connection:
                try:
                    commands = await compose(WatchedReader(self, connection, watch))
                except GiveWayError:
                    await _exchange(connection, [("UNWATCH",)])
                    raise
                failpoint("redis.composed")
                results = await _execute(connection, commands)
                failpoint("redis.executed")
                return results
        except StoreUnavailableError:
            self._metrics.redis_transactions.labels("failed").inc()
            raise

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
        await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call] # redis-py's gap
        await pool.disconnect(inuse_connections=False)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[KnownConnection]:
        """Lend a connection; one that something went wrong on, or still watches, is closed."""
        pool = self._redis.connection_pool
        lent = await pool.get_connection()  # type: ignore[no-untyped-call] # redis-py's gap
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

    async def _leave_lane(self, lock: Any) -> None:  # noqa: ANN401 - redis-py's Lock is generic
        # It may have taken longer than the lease, which ends by itself in any case.
        with suppress(LockError, RedisError):
            await lock.release()

    def _count(self, outcome: str, retries: int) -> None:
        self._metrics.redis_transactions.labels(outcome).inc()
        self._metrics.redis_transaction_retries.labels(outcome).inc(retries)


async def _execute(
    connection: KnownConnection, commands: Sequence[RedisCommand]
) -> list[Any] | None:
    """Execute the commands together, or return None if what is watched was changed."""
    if not commands:
        await _exchange(connection, [("UNWATCH",)])
        return []
    *_, results = await _exchange(connection, [("MULTI",), *commands, ("EXEC",)])
    for result in results or ():
        if isinstance(result, ResponseError):
            raise result
    return cast("list[Any] | None", results)


async def _exchange(connection: KnownConnection, commands: Sequence[RedisCommand]) -> list[Any]:
    """Write the commands at once and return their replies.

    Raises:
        ConnectionError: the connection is not the one that it was when it was lent.
        ResponseError: the first refusal, after all replies are read, so that none is left over.
    """
    if not connection.is_connected:  # connected again in silence, it would not watch any more
        raise RedisConnectionError("The connection was closed.")
    packed = connection.pack_commands(commands)
    await connection.send_packed_command(packed)
    replies, refusal = [], None
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except ReadOnlyError:
            raise  # the connection is closed by now
        except ResponseError as exc:
            refusal = refusal or exc
    if refusal is not None:
        raise refusal
    return replies
