"""Redis as a repository needs it: readings, and optimistic transactions."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, cast

from prometheus_client import Counter
from redis.exceptions import LockError, RedisError, ResponseError

from service_libs.exceptions import StoreUnavailableError
from service_libs.failpoints import failpoint
from service_libs.redis.connections import (
    GiveWayError,
    KnownConnection,
    RedisCommand,
    RedisConnections,
    RedisPolicy,
    RedisReading,
    exchange,
    translated,
)
from service_libs.redis.refusals import RedisNames
from service_libs.timing import spread


class RedisReaderProtocol(Protocol):
    """Reading inside a transaction: what is watched is watched from the first reading on."""

    async def read(self, commands: Sequence[RedisCommand]) -> RedisReading:
        """Run the commands in one round trip."""
        ...


Compose = Callable[[RedisReaderProtocol], Awaitable[Sequence[RedisCommand]]]


class AtomicRedisClientProtocol(Protocol):
    """Redis with readings and optimistic transactions.

    Every method may raise `StoreUnavailableError`.
    """

    async def read(self, commands: Sequence[RedisCommand]) -> RedisReading:
        """Run the commands in one round trip; others may write in between."""
        ...

    async def transact(self, watch: Sequence[str], compose: Compose) -> list[Any] | None:
        """WATCH the keys, compose the commands from what is read then, and execute them together.

        `None` after the allowed number of tries says that others kept changing the keys.

        Raises:
            GiveWayError: raised by `compose`; nothing was executed.
        """
        ...

    async def transact_in_lane(
        self, lane: str, watch: Sequence[str], compose: Compose
    ) -> list[Any]:
        """Do the same while others are asked to give way, until it succeeds.

        The lane is a lock with a lease, and only makes progress likely: WATCH decides.
        """
        ...


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
        self, client: RedisConnections, connection: KnownConnection, watch: Sequence[str]
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


class RedisClient(RedisConnections):
    """`AtomicRedisClientProtocol` on redis-py's connections.

    A transaction that has its commands at hand takes two round trips: WATCH with what it reads, and
    MULTI to EXEC.
    """

    def __init__(
        self, url: str, policy: RedisPolicy, names: RedisNames, metrics: TransactionMetrics
    ) -> None:
        super().__init__(url, policy, names)
        self._metrics = metrics

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

    async def _try_once(
        self,
        watch: Sequence[str],
        compose: Compose,
    ) -> list[Any] | None:
        try:
            async with translated(self._names), self._lent() as connection:
                try:
                    commands = await compose(WatchedReader(self, connection, watch))
                except GiveWayError:
                    await exchange(connection, [("UNWATCH",)])
                    raise
                failpoint("redis.composed")
                results = await _execute(connection, commands)
                failpoint("redis.executed")
                return results
        except StoreUnavailableError:
            self._metrics.redis_transactions.labels("failed").inc()
            raise

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
        await exchange(connection, [("UNWATCH",)])
        return []
    *_, results = await exchange(connection, [("MULTI",), *commands, ("EXEC",)])
    for result in results or ():
        if isinstance(result, ResponseError):
            raise result
    return cast("list[Any] | None", results)
