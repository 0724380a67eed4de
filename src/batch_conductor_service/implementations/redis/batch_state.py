"""Batch state in Redis, with Postgres behind it for what Redis has lost.

A batch is one hash. State, counts and the queue entry for Postgres change in one MULTI/EXEC under
WATCH. Never by a plain write: that would lose what others wrote in between.
"""

import asyncio
import secrets
import time
import zlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from redis.exceptions import ResponseError

from batch_conductor_service.domain.batch_state import BatchState, merge_updates
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.planning import TransactionPlan, WritePlanner
from batch_conductor_service.implementations.redis.queue import WaitingEntries
from batch_conductor_service.implementations.redis.summary import SummaryReader
from batch_conductor_service.models import BatchId, BatchUpdate, SummaryReading
from service_libs.breakers import CircuitBreakers
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import GiveWayError, RedisCommand
from service_libs.redis.transactions import AtomicRedisClientProtocol, Compose, RedisReaderProtocol
from service_libs.together import Together

BATCHES_PER_TRANSACTION = 32  # few round trips for a poll, without watching the world
STATEMENTS_PER_TRANSACTION = 4_000  # as commands and objects they take some kilobytes each
BATCHES_RECOVERED_TOGETHER = 16  # all of their essays are in memory meanwhile
RECOVERIES_AT_ONCE = 2
RING_BITS = 32  # of a batch's place among all
GIVE_WAY_SECONDS = 0.02  # before looking again whether the lane is free
LONGEST_WAY_SECONDS = 5.0  # then on all the same: WATCH decides


class RedisCachedBatchStateRepositoryImpl:
    """`BatchStateRepositoryProtocol`: reads in one round trip, writes a poll in few transactions.

    A batch whose summary is not current is merged with the archive when it is next written or asked
    for. Without an archive Redis is all there is.

    Args:
        waiting: what this process knows of the queue.
        recent: where to note which batches were written, the latest last.
    """

    def __init__(
        self,
        redis: AtomicRedisClientProtocol,
        planner: WritePlanner,
        breakers: CircuitBreakers,
        waiting: WaitingEntries,
        recent: deque[BatchId],
    ) -> None:
        self._redis = redis
        self._planner = planner
        self._summaries = SummaryReader(
            redis, breakers, planner.dependencies, has_archive=planner.has_archive
        )
        self._recovering = Together(
            self._recover, keys=BATCHES_RECOVERED_TOGETHER, questions=RECOVERIES_AT_ONCE
        )
        self._waiting = waiting
        self._recent = recent
        self._asked: defaultdict[BatchId, list[_Asked]] = defaultdict(list)
        # By batch; a lock is there as long as somebody holds or awaits it. Writers in one process
        # wait here instead of losing WATCH against each other.
        self._locks: WeakValueDictionary[BatchId, asyncio.Lock] = WeakValueDictionary()

    async def apply(self, updates: Sequence[BatchUpdate]) -> Sequence[str | None]:
        asked = [_Asked(update) for update in updates]
        for some in _by_transaction(asked):
            with self._asking(some):
                async with self._hold([one.update.batch_id for one in some]):
                    await self._apply_with_others([one for one in some if not one.is_applied])
        self._recent.extend(update.batch_id for update in updates)
        return [one.entry_id for one in asked]

    async def get_summary(self, batch_id: BatchId) -> SummaryReading:
        try:
            known = await self._summaries.find(batch_id)
            return known or await self._recovering.get(batch_id)
        except StoreUnavailableError:
            state = await self._planner.load_archived(batch_id)
        # What waited when Redis was last seen, Postgres has not: it may be a failure.
        summary = state.summarise(self._planner.dependencies)
        summary = replace(summary, is_whole=self._waiting.is_empty)
        return SummaryReading(summary=summary, is_degraded=True)

    async def get_state(self, batch_id: BatchId) -> BatchState:
        try:
            state = await self._planner.load(self._redis, batch_id)
        except StoreUnavailableError:
            state = await self._planner.load_archived(batch_id)
        return state

    async def _recover(
        self, batch_ids: Sequence[BatchId]
    ) -> Mapping[BatchId, SummaryReading] | None:
        """Return the summaries of batches of which Redis has none that is current, and keep them.

        None: each has to be recovered alone, for one of the keys is none of ours.
        """
        updates = [BatchUpdate(batch_id=batch_id) for batch_id in batch_ids]
        async with self._hold(batch_ids):
            transaction = self._transaction(updates)
            try:
                await transaction.run()
            except StoreUnavailableError as exc:
                if len(batch_ids) > 1 and isinstance(exc.__cause__, ResponseError):
                    return None
                if len(transaction.summaries) < len(batch_ids):
                    raise
        # The answers do not need the cache: what was read is true of when it was read.
        return transaction.summaries

    @contextmanager
    def _asking(self, asked: Sequence["_Asked"]) -> Iterator[None]:
        """Let whoever comes to a batch before take these along."""
        for one in asked:
            self._asked[one.update.batch_id].append(one)
        try:
            yield
        finally:
            for one in asked:
                others = self._asked[one.update.batch_id]
                others.remove(one)
                if not others:
                    del self._asked[one.update.batch_id]

    async def _apply_with_others(self, asked: Sequence["_Asked"]) -> None:
        """Apply what is asked, and in the same transaction what waits for the same batches.

        Where that fails, those who wait try by themselves.
        """
        together = [self._with_others(one) for one in asked]
        updates = [merge_updates([one.update for one in some]) for some in together]
        entry_ids = await self._transaction(updates).run() if updates else []
        for some, entry_id in zip(together, entry_ids, strict=True):
            for one in some:
                one.is_applied, one.entry_id = True, entry_id

    def _with_others(self, asked: "_Asked") -> list["_Asked"]:
        """Return it with others of its batch, as many as fit one transaction."""
        some, room = [asked], STATEMENTS_PER_TRANSACTION - len(asked.update.evidence)
        for one in self._asked[asked.update.batch_id]:
            if one is not asked and not one.is_applied and len(one.update.evidence) <= room:
                some.append(one)
                room -= len(one.update.evidence)
        return some

    def _transaction(self, updates: Sequence[BatchUpdate]) -> "_Transaction":
        return _Transaction(self._redis, self._planner, self._waiting, updates)

    @asynccontextmanager
    async def _hold(self, batch_ids: Sequence[BatchId]) -> AsyncIterator[None]:
        """Hold the locks of all batches. They are taken in one order, so that nobody deadlocks."""
        locks = [self._locks.setdefault(one, asyncio.Lock()) for one in sorted(set(batch_ids))]
        async with AsyncExitStack() as stack:
            for lock in locks:
                await stack.enter_async_context(lock)
            yield


@dataclass(slots=True, eq=False)
class _Asked:
    """An update that somebody waits for, and under which entry it was queued."""

    update: BatchUpdate
    is_applied: bool = False
    entry_id: str | None = None


@dataclass(slots=True)
class _Transaction:
    """Updates of different batches, on their way into Redis.

    `plan` is what the latest try has read and was to write; it is empty before the first.
    `summaries` has each batch as the latest try read it.
    """

    redis: AtomicRedisClientProtocol
    planner: WritePlanner
    waiting: WaitingEntries
    updates: Sequence[BatchUpdate]
    plan: TransactionPlan = field(default_factory=TransactionPlan)
    summaries: dict[BatchId, SummaryReading] = field(default_factory=dict)

    async def run(self) -> list[str | None]:
        """Merge the updates together, else each in its batch's lane; return their queue entries."""
        began_at, watched = time.monotonic(), _watched(self.updates)
        while True:
            gives_way = time.monotonic() < began_at + LONGEST_WAY_SECONDS
            compose = self._composer(self.updates, gives_way=gives_way)
            try:
                with self._noting():
                    results = await self.redis.transact(watched, compose)
            except GiveWayError:
                await asyncio.sleep(GIVE_WAY_SECONDS)
                continue
            if results is None:
                return [await self._run_in_lane(update) for update in self.updates]
            return list(self.plan.entry_ids(results))

    async def _run_in_lane(self, update: BatchUpdate) -> str | None:
        compose = self._composer([update], gives_way=False)
        with self._noting():
            results = await self.redis.transact_in_lane(
                keys.lane(update.batch_id), _watched([update]), compose
            )
        [entry_id] = self.plan.entry_ids(results)
        return entry_id

    def _composer(self, updates: Sequence[BatchUpdate], *, gives_way: bool) -> Compose:
        async def compose(reader: RedisReaderProtocol) -> list[RedisCommand]:
            self.plan = await self.planner.plan(reader, updates, gives_way=gives_way)
            if self.plan.queues:
                self.waiting.note_queued()
            self.summaries |= {
                batch_id: SummaryReading(summary=summary, server_run=self.plan.server_run)
                for batch_id, summary in self.plan.summaries.items()
            }
            return [command for some in self.plan.commands for command in some]

        return compose

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note what is queued by the end, or may be where it fails."""
        try:
            yield
        finally:
            if self.plan.queues:
                self.waiting.note_queued()


def _watched(updates: Sequence[BatchUpdate]) -> list[str]:
    """Return what a transaction watches: the batches, and where earlier versions write of them."""
    return [key(one.batch_id) for one in updates for key in (keys.batch, keys.earlier_summary)]


def _by_transaction(asked: Sequence[_Asked]) -> Iterator[list[_Asked]]:
    """Yield those that may share a transaction: not too many, and no batch twice.

    Batches stand on a ring, the same for all processes, and each begins anywhere on it. So two that
    have the same many batches in hand are seldom at the same ones, and where they are, at most of
    them: transactions that shared a few batches each with many others would all lose.
    """
    start = secrets.randbits(RING_BITS)
    ring = [(zlib.crc32(one.update.batch_id.encode()) - start) % 2**RING_BITS for one in asked]
    batches: set[BatchId] = set()
    some: list[int] = []
    room = STATEMENTS_PER_TRANSACTION
    for place in sorted(range(len(asked)), key=ring.__getitem__):
        update = asked[place].update
        is_full = len(some) == BATCHES_PER_TRANSACTION or len(update.evidence) > room
        if some and (update.batch_id in batches or is_full):
            yield [asked[one] for one in sorted(some)]
            batches, some, room = set(), [], STATEMENTS_PER_TRANSACTION
        batches.add(update.batch_id)
        some.append(place)
        room -= len(update.evidence)
    if some:
        yield [asked[one] for one in sorted(some)]
