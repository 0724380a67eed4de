"""What a transaction does to its batches, decided from what it reads under WATCH.

Every try reads everything again, the archive too: what was true at an earlier try may not be. Where
what is kept in Redis is not whole, it is merged with all else that knows of the batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.redis.batch_hash import (
    BatchReading,
    KeptBatch,
    KeptEssay,
    all_commands,
    parse_all,
    parse_touched,
    touched_commands,
)
from batch_conductor_service.implementations.redis.batch_writing import (
    BatchChange,
    change_all,
    change_essays,
    write_commands,
)
from batch_conductor_service.implementations.redis.earlier_versions import (
    ImportedBatch,
    import_batch,
)
from batch_conductor_service.implementations.redis.summary import CurrentData, KeptSummary
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchUpdate,
    EssayProcessingState,
)
from batch_conductor_service.protocols import BatchStateArchiveProtocol
from service_libs.breakers import CircuitBreakers
from service_libs.exceptions import StoreUnavailableError, TransientError
from service_libs.failpoints import failpoint
from service_libs.protocols import ClockProtocol
from service_libs.redis.connections import GiveWayError, RedisCommand
from service_libs.redis.transactions import RedisReaderProtocol
from service_libs.timing import in_turns

Archived = Mapping[BatchId, BatchState] | None  # None where the archive cannot be reached


@dataclass(slots=True)
class TransactionPlan:
    """The commands of a transaction, by batch, and each summary as it will be then.

    `server_run` names the data that it was made from, where there is an archive behind them.
    """

    server_run: str | None = None
    commands: list[list[RedisCommand]] = field(default_factory=list)
    summaries: dict[BatchId, BatchCompletionSummary] = field(default_factory=dict)

    @property
    def queues(self) -> bool:
        """Whether anything is queued for Postgres."""
        return any(map(_is_queued, self.commands))

    def entry_ids(self, results: Sequence[Any]) -> Iterator[str | None]:
        """Yield under which entry each update was queued, from the replies to all commands."""
        end = 0
        for commands in self.commands:
            end += len(commands)
            yield str(results[end - 1]) if _is_queued(commands) else None


class WritePlanner:
    """Turns updates into the commands that merge them into their batches.

    Args:
        archive: what is behind Redis; None where Redis is all there is.
        ttl_seconds: for how long batches are kept after they are written.
    """

    def __init__(
        self,
        archive: BatchStateArchiveProtocol | None,
        breakers: CircuitBreakers,
        clock: ClockProtocol,
        dependencies: StepDependencies,
        ttl_seconds: int,
    ) -> None:
        self.has_archive = archive is not None
        self.dependencies = dependencies
        self._archive = archive
        self._breakers = breakers
        self._clock = clock
        self._ttl_seconds = ttl_seconds

    async def plan(
        self,
        reader: RedisReaderProtocol,
        updates: Sequence[BatchUpdate],
        *,
        gives_way: bool = False,
    ) -> TransactionPlan:
        """Return what the updates do to their batches.

        Args:
            reader: what is read through it is watched.
            updates: of different batches.
            gives_way: whether to leave off where another writer has the lane.

        Raises:
            GiveWayError: another writer has the lane of a batch.
            StoreUnavailableError: Redis cannot be read.
        """
        reading = await reader.read([c for one in updates for c in touched_commands(one)])
        replies = iter(reading.replies)
        found = [parse_touched(update, replies) async for update in in_turns(updates)]
        if gives_way and any(one.has_lane for one in found):
            raise GiveWayError
        current, now = self._current(reading.server_run), self._clock.now()
        changes: dict[BatchId, BatchChange] = {}
        async for update, one in in_turns(zip(updates, found, strict=True)):
            if change := self._change_essays(one, update, current, now):
                changes[update.batch_id] = change
        others = [update for update in updates if update.batch_id not in changes]
        if others:
            merged = await self._merge_all(reader, others)
            changes |= {
                k.summary.batch_id: change_all(b, k, queued, now)
                async for b, k, queued in in_turns(merged)
            }
        plan = TransactionPlan(server_run=current.server_run)
        async for update in in_turns(updates):
            change = changes[update.batch_id]
            plan.commands.append(write_commands(change, self._ttl_seconds, now))
            plan.summaries[update.batch_id] = change.kept.summary
        return plan

    async def load(self, reader: RedisReaderProtocol, batch_id: BatchId) -> BatchState:
        """Return all that is known of the batch.

        Raises:
            StoreUnavailableError: Redis cannot be read.
        """
        [(batch, _, _)] = await self._merge_all(reader, [BatchUpdate(batch_id=batch_id)])
        return batch.state

    async def load_archived(self, batch_id: BatchId) -> BatchState:
        """Return what the archive alone has of the batch.

        Raises:
            StoreUnavailableError: it cannot be read, or there is none.
        """
        archived = await self._load_archived([batch_id])
        if archived is None or not self.has_archive:
            raise StoreUnavailableError
        return archived.get(batch_id) or BatchState(batch_id)

    def _current(self, server_run: str) -> CurrentData:
        run = server_run if self.has_archive else None
        return CurrentData(server_run=run, dependencies=self.dependencies)

    def _change_essays(
        self, reading: BatchReading, update: BatchUpdate, current: CurrentData, now: datetime
    ) -> BatchChange | None:
        kept = reading.find_current(current)
        if kept is None or update.registrations or update.outcomes:
            return None
        # Without an archive what is written has not been merged with it any more.
        kept = replace(kept, server_run=current.server_run or "")
        return change_essays(reading.batch, kept, update, self.dependencies, now)

    async def _merge_all(
        self, reader: RedisReaderProtocol, updates: Sequence[BatchUpdate]
    ) -> list[tuple[KeptBatch, KeptSummary, BatchUpdate]]:
        """Merge what Redis, earlier versions and the archive have of the batches with updates."""
        batch_ids = [update.batch_id for update in updates]
        reading = await reader.read(all_commands(batch_ids))
        found = await parse_all(batch_ids, iter(reading.replies))
        current = self._current(reading.server_run)
        del reading  # it is as large as the batches are
        imported = {
            batch_id: await import_batch(reader, batch_id)
            for batch_id, one in found.items()
            if one.has_earlier or not one.batch.is_known
        }
        archived = await self._load_archived(
            [batch_id for batch_id, one in found.items() if not one.is_merged(current)]
        )
        return [
            _merge_known(update, one, imported.get(update.batch_id), archived, current)
            async for update, one in in_turns(zip(updates, found.values(), strict=True))
        ]

    async def _load_archived(self, batch_ids: Sequence[BatchId]) -> Archived:
        archive = self._archive
        if archive is None or not batch_ids:
            return {}
        failpoint("hydrate.read")
        try:
            archived = await self._breakers.call(
                "postgresql", lambda: archive.load_states(batch_ids)
            )
        except TransientError:
            return None
        failpoint("hydrate.loaded")
        return archived


def _merge_known(
    update: BatchUpdate,
    reading: BatchReading,
    imported: ImportedBatch | None,
    archived: Archived,
    current: CurrentData,
) -> tuple[KeptBatch, KeptSummary, BatchUpdate]:
    """Merge what was read, imported and archived of a batch, and an update.

    Return the batch as it was read, but with the state of now; the summary of that; and what
    Postgres is to get. `archived` has the batch only if it is to be merged.
    """
    batch, unqueued = reading.batch, BatchState(update.batch_id)
    if imported is not None:
        batch = _with_creation_times(batch, imported)
        batch.state.merge(imported.update)
        unqueued.merge(imported.unqueued)
    if batch.summary is not None and not batch.summary.server_run:
        # It was written while there was no archive, which may have nothing of it.
        unqueued.merge(batch.state.as_update())
    batch.state.merge(update)
    if archived and (known := archived.get(update.batch_id)) is not None:
        batch.state.merge(known.as_update())
    summary = batch.state.summarise(current.dependencies)
    kept = KeptSummary(
        summary=replace(summary, is_whole=_is_whole(reading, imported, archived, current)),
        server_run=current.server_run or "",
        dependencies=current.dependencies.version,
    )
    if not unqueued.is_empty:
        unqueued.merge(update)
        update = unqueued.as_update()
    return batch, kept, update


def _is_whole(
    reading: BatchReading, imported: ImportedBatch | None, archived: Archived, current: CurrentData
) -> bool:
    """Whether what is merged by now is whole."""
    if reading.is_merged(current):
        return True
    if current.server_run is None:  # what Redis has lost is lost for good
        was_whole = reading.batch.summary is None or reading.batch.summary.summary.is_whole
        return reading.batch.is_readable and was_whole and (imported is None or imported.is_whole)
    # What is lost here and still waits for the archive, neither of the two knows.
    return archived is not None and not reading.is_waiting


def _with_creation_times(batch: KeptBatch, imported: ImportedBatch) -> KeptBatch:
    batch_id = batch.state.batch_id
    created = {
        essay_id: KeptEssay(
            state=EssayProcessingState(batch_id=batch_id, essay_id=essay_id), created_at=created_at
        )
        for essay_id, created_at in imported.created_at.items()
    }
    return replace(batch, essays=created | dict(batch.essays))


def _is_queued(commands: Sequence[RedisCommand]) -> bool:
    """Whether the last of the commands queues something for Postgres."""
    return bool(commands) and commands[-1][0] == "XADD"
