"""What a transaction does to its batches, decided from what it reads under WATCH.

Every try reads everything again, the archive too: what was true at an earlier try may not be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.redis.batch_hash import (
    KeptBatch,
    KeptEssay,
    KeptSummary,
)
from batch_conductor_service.implementations.redis.batch_reading import (
    BatchReading,
    CurrentData,
    WholeReading,
    parse_reading,
    parse_whole,
    reading_commands,
    whole_commands,
)
from batch_conductor_service.implementations.redis.batch_writing import (
    BatchChange,
    WritePolicy,
    change_essays,
    change_whole,
    is_queued,
    write_commands,
)
from batch_conductor_service.implementations.redis.earlier_versions import (
    ImportedBatch,
    import_batch,
)
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
from service_libs.redis.transactions import GiveWayError, RedisCommand, RedisReaderProtocol

Archived = Mapping[BatchId, BatchState] | None  # None where the archive cannot be reached


@dataclass(slots=True)
class TransactionPlan:
    """The commands of a transaction, by batch, and each batch as it will be then.

    `server_run` names the data that it was made from, where there is an archive behind them.
    """

    server_run: str | None = None
    commands: list[list[RedisCommand]] = field(default_factory=list)
    summaries: dict[BatchId, BatchCompletionSummary] = field(default_factory=dict)
    states: dict[BatchId, BatchState] = field(default_factory=dict)  # of those read whole

    @property
    def queues(self) -> bool:
        """Whether anything is queued for Postgres."""
        return any(is_queued(commands) for commands in self.commands)

    def entry_ids(self, results: Sequence[Any]) -> Iterator[str | None]:
        """Yield under which entry each update was queued, from the replies to all commands."""
        end = 0
        for commands in self.commands:
            end += len(commands)
            yield str(results[end - 1]) if is_queued(commands) else None


class WritePlanner:
    """Turns updates into the commands that merge them into their batches."""

    def __init__(
        self,
        archive: BatchStateArchiveProtocol | None,
        breakers: CircuitBreakers,
        clock: ClockProtocol,
        dependencies: StepDependencies,
        policy: WritePolicy,
    ) -> None:
        self._archive = archive
        self._breakers = breakers
        self._clock = clock
        self._dependencies = dependencies
        self._policy = policy

    async def load_archived(self, batch_id: BatchId) -> BatchState:
        """Return what the archive alone has of the batch.

        Raises:
            StoreUnavailableError: it cannot be read, or there is none.
        """
        archived = await self._load_archived([batch_id])
        if archived is None or self._archive is None:
            raise StoreUnavailableError
        return archived.get(batch_id) or BatchState(batch_id)

    def summarise(self, state: BatchState) -> BatchCompletionSummary:
        """Return the summary that follows from the evidence."""
        return state.summarise(self._dependencies)

    def current(self, server_run: str) -> CurrentData:
        """Return what a kept summary has to be of to be believed."""
        return CurrentData(
            server_run=server_run if self._archive else None,
            dependencies=self._dependencies.version,
        )

    async def plan(
        self,
        reader: RedisReaderProtocol,
        updates: Sequence[BatchUpdate],
        *,
        gives_way: bool = False,
        reads_all: bool = False,
    ) -> TransactionPlan:
        """Return what the updates do to their batches.

        Args:
            reader: what is read through it is watched.
            updates: of different batches.
            gives_way: whether to leave off where another writer has the lane.
            reads_all: whether the essays are wanted, too.

        Raises:
            GiveWayError: another writer has the lane of a batch.
            StoreUnavailableError: Redis cannot be read.
        """
        reading = await reader.read([c for one in updates for c in reading_commands(one)])
        replies = iter(reading.replies)
        found = [parse_reading(update, replies) for update in updates]
        if gives_way and any(one.has_lane for one in found):
            raise GiveWayError
        current = self.current(reading.server_run)
        now = self._clock.now()
        changes = {
            one.batch_id: None if reads_all else self._change_essays(one, update, current, now)
            for update, one in zip(updates, found, strict=True)
        }
        plan = TransactionPlan(server_run=current.server_run)
        wanted = [
            (update, one)
            for update, one in zip(updates, found, strict=True)
            if changes[one.batch_id] is None
        ]
        if wanted:
            changes |= await self._change_wholes(reader, wanted, plan, now)
        if not reads_all:
            plan.states.clear()  # they are large
        for update in updates:
            self._add(plan, update.batch_id, changes[update.batch_id], now)
        return plan

    def _change_essays(
        self, reading: BatchReading, update: BatchUpdate, current: CurrentData, now: datetime
    ) -> BatchChange | None:
        says_what_counts = update.registrations or update.outcomes
        is_believed = not reading.has_earlier and current.find_summary(reading.kept) is not None
        if says_what_counts or not is_believed or reading.kept is None:
            return None
        # Without an archive what is written has not been merged with it any more.
        kept = replace(reading.kept, server_run=current.server_run or "")
        return change_essays(reading, kept, update, self._dependencies, now)

    async def _change_wholes(
        self,
        reader: RedisReaderProtocol,
        wanted: Sequence[tuple[BatchUpdate, BatchReading]],
        plan: TransactionPlan,
        now: datetime,
    ) -> dict[BatchId, BatchChange | None]:
        batch_ids = [update.batch_id for update, _ in wanted]
        reading = await reader.read(whole_commands(batch_ids))
        wholes = parse_whole(batch_ids, iter(reading.replies))
        current = self.current(reading.server_run)
        del reading  # it is as large as the batches are
        imported = {
            update.batch_id: await import_batch(reader, update.batch_id)
            for update, one in wanted
            if one.has_earlier or not wholes[update.batch_id].is_known
        }
        unmerged = [
            update.batch_id
            for update, one in wanted
            if one.has_earlier or not _is_merged(wholes[update.batch_id], current)
        ]
        archived = await self._load_archived(unmerged)
        changes: dict[BatchId, BatchChange | None] = {}
        for update, _ in wanted:
            batch_id = update.batch_id
            merge = _WholeMerge(update, wholes[batch_id], imported.get(batch_id))
            is_merged = batch_id not in unmerged
            merge.add_archived(archived, is_merged=is_merged, has_archive=self._archive is not None)
            changes[batch_id] = self._change_whole(merge, current, now)
            plan.states[batch_id] = merge.state
        return changes

    def _change_whole(
        self, merge: "_WholeMerge", current: CurrentData, now: datetime
    ) -> BatchChange:
        summary = self.summarise(merge.state)
        kept = KeptSummary(
            summary=replace(summary, is_whole=merge.is_whole),
            server_run=current.server_run or "",
            dependencies=self._dependencies.version,
        )
        batch = KeptBatch(state=merge.state, essays=merge.essays, reports=merge.whole.batch.reports)
        return change_whole(batch, kept, merge.queued, now, is_readable=merge.whole.is_readable)

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

    def _add(
        self,
        plan: TransactionPlan,
        batch_id: BatchId,
        change: BatchChange | None,
        now: datetime,
    ) -> None:
        if change is None:
            raise AssertionError("every batch of a transaction is planned")
        plan.commands.append(write_commands(change, self._policy, now))
        plan.summaries[batch_id] = change.kept.summary


class _WholeMerge:
    """A batch merged from everything that knows of it."""

    def __init__(
        self, update: BatchUpdate, whole: WholeReading, imported: ImportedBatch | None
    ) -> None:
        self.whole = whole
        self.state = whole.batch.state
        self.essays = dict(whole.batch.essays)
        self.is_whole = True
        self._has_all = whole.is_readable and (imported is None or imported.is_intact)
        if whole.kept is not None and not whole.kept.summary.is_whole:
            self._has_all = False
        queued = BatchState(update.batch_id)
        if imported is not None:
            self.state.merge(imported.update)
            queued.merge(imported.unqueued)
            self._take_creation_times(imported)
        if whole.kept is not None and not whole.kept.server_run:
            # It was written while there was no archive, which may have nothing of it.
            queued.merge(self.state.as_update())
        self.state.merge(update)
        queued.merge(update)
        self.queued = queued.as_update()

    def add_archived(self, archived: Archived, *, is_merged: bool, has_archive: bool) -> None:
        """Merge what the archive has, and judge whether that is all there is."""
        if is_merged:
            return
        if not has_archive:
            self.is_whole = self._has_all  # what Redis has lost is lost for good
            return
        if archived and (known := archived.get(self.state.batch_id)) is not None:
            self.state.merge(known.as_update())
        # What is lost here and still waits for the archive, neither of the two can tell.
        self.is_whole = archived is not None and not self.whole.is_waiting

    def _take_creation_times(self, imported: ImportedBatch) -> None:
        for essay_id, created_at in imported.created_at.items():
            if essay_id not in self.essays:
                empty = EssayProcessingState(batch_id=self.state.batch_id, essay_id=essay_id)
                self.essays[essay_id] = KeptEssay(state=empty, created_at=created_at)


def _is_merged(whole: WholeReading, current: CurrentData) -> bool:
    """Whether what is kept is all that there is."""
    kept = whole.kept
    return (
        whole.is_readable and kept is not None and kept.summary.is_whole and current.is_merged(kept)
    )
