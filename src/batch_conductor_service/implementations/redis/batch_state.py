"""Batch state in Redis, with Postgres behind it for what Redis has lost.

State, counts and the queue entry for Postgres change in one MULTI/EXEC; under contention that
outlasts the tries, in one Lua script. Never by a plain write: that would lose what others wrote in
between.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from batch_conductor_service.breakers import CircuitBreakers
from batch_conductor_service.codec import encode_update, time_text
from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.exceptions import StoreUnavailableError
from batch_conductor_service.implementations.redis import keys, plans, readings
from batch_conductor_service.implementations.redis.archived import Archived
from batch_conductor_service.implementations.redis.locks import KeyedLocks
from batch_conductor_service.implementations.redis.plans import WritePolicy
from batch_conductor_service.implementations.redis.readings import BatchReading
from batch_conductor_service.implementations.redis.whole_batches import WholeBatch, load_whole
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchUpdate,
    EssayProcessingState,
)
from batch_conductor_service.port_values import RedisCommand, SummaryReading
from batch_conductor_service.protocols import (
    AtomicRedisClientProtocol,
    BatchStateArchiveProtocol,
    ClockProtocol,
    PersistenceQueueProtocol,
)

BATCHES_PER_TRANSACTION = 32  # few round trips for a poll, without watching the world


class RedisCachedBatchStateRepositoryImpl:
    """`BatchStateRepositoryProtocol`: reads in one round trip, writes a poll in few transactions.

    A batch that Redis does not know whole is merged with the archive when it is next written or
    asked for. Without an archive Redis is all there is.
    """

    def __init__(
        self,
        redis: AtomicRedisClientProtocol,
        archive: BatchStateArchiveProtocol | None,
        breakers: CircuitBreakers,
        clock: ClockProtocol,
        *,
        ttl_seconds: int,
        queue: PersistenceQueueProtocol | None = None,
    ) -> None:
        self._redis = redis
        self._archive = archive
        self._breakers = breakers
        self._clock = clock
        self._queue = queue
        self._policy = WritePolicy(ttl_seconds=ttl_seconds, is_queued=archive is not None)
        self._locks = KeyedLocks()

    async def apply(self, updates: Sequence[BatchUpdate]) -> Sequence[str | None]:
        entry_ids: list[str | None] = []
        for some in _by_transaction(updates):
            async with self._locks.hold(update.batch_id for update in some):
                entry_ids += await self._apply_together(some, self._new_archived())
        return entry_ids

    async def get_summary(self, batch_id: BatchId) -> SummaryReading:
        commands = readings.summary_commands(batch_id)
        try:
            fields, counts = await self._breakers.call("redis", lambda: self._redis.read(commands))
        except StoreUnavailableError:
            summary = (await self._load_archived(batch_id)).summarise()
            # What waited when Redis was last seen, Postgres has not: it may be a failure.
            summary = replace(summary, is_whole=self._queue is None or self._queue.was_empty)
            return SummaryReading(summary=summary, is_degraded=True)
        known = readings.find_summary(batch_id, fields, counts, self._life)
        return SummaryReading(summary=known or await self._recover(batch_id))

    async def get_essays(self, batch_id: BatchId) -> Sequence[EssayProcessingState]:
        update = BatchUpdate(batch_id=batch_id)
        try:
            [whole] = await load_whole(
                self._redis, await self._read([update]), self._new_archived()
            )
        except StoreUnavailableError:
            return (await self._load_archived(batch_id)).essays()
        return whole.state.essays()

    @property
    def _life(self) -> str | None:
        """What batches have to be of; without an archive there is nothing to merge them with."""
        return self._redis.life if self._archive else None

    async def _apply_together(
        self, updates: Sequence[BatchUpdate], archived: Archived
    ) -> list[str | None]:
        """Apply updates of different batches in one transaction, else each by the script."""
        sizes: list[int] = []

        async def compose() -> list[RedisCommand]:
            plan = await self._plan(updates, archived)
            sizes[:] = [len(commands) for commands in plan]
            return [command for commands in plan for command in commands]

        watched = [key for u in updates for key in keys.batch_keys(u.batch_id)[:2]]
        results = await self._redis.transact(watched, compose)
        if results is None:
            return [await self._apply_by_script(update, archived) for update in updates]
        return list(self._entry_ids(results, sizes))

    async def _plan(
        self, updates: Sequence[BatchUpdate], archived: Archived
    ) -> list[list[RedisCommand]]:
        found = await self._read(updates)
        written_anew = [r for u, r in zip(updates, found, strict=True) if _is_written_anew(u, r)]
        loaded = await load_whole(self._redis, written_anew, archived) if written_anew else []
        whole = {batch.state.batch_id: batch for batch in loaded}
        return [
            self._write_whole(update, whole[update.batch_id])
            if update.batch_id in whole
            else plans.merge_by_difference(reading, update, self._policy, self._clock.now())
            for update, reading in zip(updates, found, strict=True)
        ]

    def _write_whole(self, update: BatchUpdate, batch: WholeBatch) -> list[RedisCommand]:
        batch.state.merge(update)
        queued = replace(update, evidence=(*update.evidence, *batch.unqueued))
        written = plans.write_whole(
            batch.state,
            batch.documents,
            self._policy,
            self._clock.now(),
            is_whole=batch.is_whole,
            life=self._life,
        )
        return [*written, *plans.queue_entry(queued, self._policy)]

    async def _apply_by_script(self, update: BatchUpdate, archived: Archived) -> str | None:
        [reading] = await self._read([update])
        mode, said, queued = "difference", update, update
        if _is_written_anew(update, reading):
            [batch] = await load_whole(self._redis, [reading], archived)
            batch.state.merge(update)
            mode, said = "whole" if batch.is_whole else "partial", batch.state.as_update()
            queued = replace(update, evidence=(*update.evidence, *batch.unqueued))
        entry_id = await self._redis.run_script(
            "merge_update",
            [*keys.batch_keys(update.batch_id), keys.PERSISTENCE_QUEUE, keys.PERSISTENCE_WAITING],
            [
                encode_update(said),
                time_text(self._clock.now()),
                self._policy.ttl_seconds,
                keys.essay_state_prefix(update.batch_id),
                mode,
                encode_update(queued) if self._policy.is_queued else "",
                self._life or "",
            ],
        )
        if entry_id is None:
            raise StoreUnavailableError("The batch was lost from Redis while it was written.")
        return str(entry_id) or None

    async def _read(self, updates: Sequence[BatchUpdate]) -> list[BatchReading]:
        commands = [command for u in updates for command in readings.reading_commands(u)]
        replies = iter(await self._redis.read(commands))
        return [readings.parse_reading(update, replies, self._life) for update in updates]

    async def _recover(self, batch_id: BatchId) -> BatchCompletionSummary:
        """Return the summary of a batch that Redis does not know whole, and keep it there."""
        update, archived = BatchUpdate(batch_id=batch_id), self._new_archived()
        async with self._locks.hold([batch_id]):
            [batch] = await load_whole(self._redis, await self._read([update]), archived)
            if batch.is_whole:
                with suppress(StoreUnavailableError):  # the answer does not need the cache
                    await self._apply_together([update], archived)
        return replace(batch.state.summarise(), is_whole=batch.is_whole)

    async def _load_archived(self, batch_id: BatchId) -> BatchState:
        archived = self._new_archived()
        await archived.load([batch_id])
        if not archived.was_heard(batch_id):
            raise StoreUnavailableError
        return archived.find(batch_id) or BatchState(batch_id)

    def _new_archived(self) -> Archived:
        return Archived(self._archive, self._breakers)

    def _entry_ids(self, results: Sequence[Any], sizes: Sequence[int]) -> Iterator[str | None]:
        """Yield the reply to the last command of each update, which queued it."""
        end = 0
        for size in sizes:
            end += size
            reply = results[end - 1] if size else None
            yield reply if isinstance(reply, str) else None


def _is_written_anew(update: BatchUpdate, reading: BatchReading) -> bool:
    says_what_counts = update.registrations or update.outcomes
    return bool(says_what_counts) or not reading.is_consistent


def _by_transaction(updates: Sequence[BatchUpdate]) -> Iterator[list[BatchUpdate]]:
    """Yield updates that may share a transaction: not too many, and no batch twice."""
    some: dict[BatchId, BatchUpdate] = {}
    for update in updates:
        if update.batch_id in some or len(some) == BATCHES_PER_TRANSACTION:
            yield list(some.values())
            some = {}
        some[update.batch_id] = update
    if some:
        yield list(some.values())
