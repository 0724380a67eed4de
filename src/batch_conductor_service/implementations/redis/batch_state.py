"""Batch state in Redis, with Postgres behind it for what Redis has lost.

A batch is one hash. State, counts and the queue entry for Postgres change in one MULTI/EXEC under
WATCH. Never by a plain write: that would lose what others wrote in between.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.batch_hash import decode_summary
from batch_conductor_service.implementations.redis.batch_reading import summary_commands
from batch_conductor_service.implementations.redis.locks import KeyedLocks
from batch_conductor_service.implementations.redis.planning import TransactionPlan, WritePlanner
from batch_conductor_service.implementations.redis.waiting import WaitingEntries
from batch_conductor_service.models import BatchId, BatchUpdate, EssayProcessingState
from batch_conductor_service.port_values import SummaryReading
from service_libs.breakers import CircuitBreakers
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.transactions import (
    AtomicRedisClientProtocol,
    Compose,
    GiveWayError,
    RedisCommand,
    RedisReaderProtocol,
)

Result = TypeVar("Result")

BATCHES_PER_TRANSACTION = 32  # few round trips for a poll, without watching the world
STATEMENTS_PER_TRANSACTION = 4_000  # as commands and objects they take some kilobytes each
GIVE_WAY_SECONDS = 0.02  # before looking again whether the lane is free
LONGEST_WAY_SECONDS = 5.0  # then on all the same: WATCH decides


class RedisCachedBatchStateRepositoryImpl:
    """`BatchStateRepositoryProtocol`: reads in one round trip, writes a poll in few transactions.

    A batch that Redis does not know whole is merged with the archive when it is next written or
    asked for. Without an archive Redis is all there is.

    Args:
        waiting: what this process knows of the queue.
    """

    def __init__(
        self,
        redis: AtomicRedisClientProtocol,
        planner: WritePlanner,
        breakers: CircuitBreakers,
        waiting: WaitingEntries,
    ) -> None:
        self._redis = redis
        self._planner = planner
        self._breakers = breakers
        self._waiting = waiting
        self._locks = KeyedLocks()

    async def apply(self, updates: Sequence[BatchUpdate]) -> Sequence[str | None]:
        entry_ids: list[str | None] = []
        for some in _by_transaction(updates):
            async with self._locks.hold(update.batch_id for update in some):
                entry_ids += await self._transact(some, [])
        return entry_ids

    async def get_summary(self, batch_id: BatchId) -> SummaryReading:
        try:
            known = await self._breakers.call("redis", lambda: self._find_summary(batch_id))
            return known or await self._recover(batch_id)
        except StoreUnavailableError:
            state = await self._planner.load_archived(batch_id)
        # What waited when Redis was last seen, Postgres has not: it may be a failure.
        summary = replace(self._planner.summarise(state), is_whole=self._waiting.is_empty)
        return SummaryReading(summary=summary, is_degraded=True)

    async def get_essays(self, batch_id: BatchId) -> Sequence[EssayProcessingState]:
        try:
            plan = await self._planner.plan(
                self._redis, [BatchUpdate(batch_id=batch_id)], reads_all=True
            )
        except StoreUnavailableError:
            return (await self._planner.load_archived(batch_id)).essays()
        return plan.states[batch_id].essays()

    async def _find_summary(self, batch_id: BatchId) -> SummaryReading | None:
        """Return the summary that Redis has, if it may be believed."""
        reading = await self._redis.read(summary_commands(batch_id))
        text, has_earlier = reading.replies
        kept = None if has_earlier else decode_summary(batch_id, text)
        current = self._planner.current(reading.server_run)
        summary = current.find_summary(kept)
        if summary is None:
            return None
        return SummaryReading(summary=summary, server_run=current.server_run)

    async def _recover(self, batch_id: BatchId) -> SummaryReading:
        """Return the summary of a batch that Redis does not know whole, and keep it there.

        Whoever asks for the same batch meanwhile waits, and finds it there.
        """
        async with self._locks.hold([batch_id]):
            known = await self._find_summary(batch_id)
            if known is not None:
                return known
            plans: list[TransactionPlan] = []
            try:
                await self._transact([BatchUpdate(batch_id=batch_id)], plans)
            except StoreUnavailableError:
                if not plans:
                    raise
            # The answer does not need the cache: what was read is true of when it was read.
            plan = plans[-1]
            return SummaryReading(summary=plan.summaries[batch_id], server_run=plan.server_run)

    async def _transact(
        self, updates: Sequence[BatchUpdate], plans: list[TransactionPlan]
    ) -> list[str | None]:
        """Merge updates of different batches in one transaction, else each in its batch's lane.

        Return their queue entries; `plans` gets the plan of the latest try.
        """
        watched = _watched([update.batch_id for update in updates])
        began_at = time.monotonic()
        while True:
            gives_way = time.monotonic() < began_at + LONGEST_WAY_SECONDS
            compose = self._composer(updates, plans, gives_way=gives_way)
            try:
                results = await self._noting(self._redis.transact(watched, compose), plans)
            except GiveWayError:
                await asyncio.sleep(GIVE_WAY_SECONDS)
                continue
            if results is None:
                return [await self._transact_in_lane(update, plans) for update in updates]
            return list(plans[-1].entry_ids(results))

    async def _transact_in_lane(
        self, update: BatchUpdate, plans: list[TransactionPlan]
    ) -> str | None:
        lane, watched = keys.lane(update.batch_id), _watched([update.batch_id])
        compose = self._composer([update], plans, gives_way=False)
        results = await self._noting(self._redis.transact_in_lane(lane, watched, compose), plans)
        [entry_id] = plans[-1].entry_ids(results)
        return entry_id

    def _composer(
        self, updates: Sequence[BatchUpdate], plans: list[TransactionPlan], *, gives_way: bool
    ) -> Compose:
        async def compose(reader: RedisReaderProtocol) -> list[RedisCommand]:
            plan = await self._planner.plan(reader, updates, gives_way=gives_way)
            plans[:] = [plan]
            if plan.queues:
                self._waiting.note_queued()
            return [command for some in plan.commands for command in some]

        return compose

    async def _noting(self, transaction: Awaitable[Result], plans: list[TransactionPlan]) -> Result:
        """Await the transaction, and note what it has queued, or may have if it fails."""
        try:
            return await transaction
        finally:
            if plans and plans[-1].queues:
                self._waiting.note_queued()


def _watched(batch_ids: Sequence[BatchId]) -> list[str]:
    """Return what a transaction watches: the batches, and where earlier versions write of them."""
    return [key(batch_id) for batch_id in batch_ids for key in (keys.batch, keys.earlier_summary)]


def _by_transaction(updates: Sequence[BatchUpdate]) -> Iterator[list[BatchUpdate]]:
    """Yield updates that may share a transaction: not too many, and no batch twice."""
    some: dict[BatchId, BatchUpdate] = {}
    room = STATEMENTS_PER_TRANSACTION
    for update in updates:
        is_full = len(some) == BATCHES_PER_TRANSACTION or len(update.evidence) > room
        if some and (update.batch_id in some or is_full):
            yield list(some.values())
            some, room = {}, STATEMENTS_PER_TRANSACTION
        some[update.batch_id] = update
        room -= len(update.evidence)
    if some:
        yield list(some.values())
