"""What a transaction does to its batches, decided from what it reads under WATCH.

Every try reads everything again, the archive too: what was true at an earlier try may not be.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.redis.batch_hash import (
    KeptBatch,
    KeptSummary,
)
from batch_conductor_service.implementations.redis.batch_reading import (
    Archived,
    BatchReading,
    CurrentData,
    all_commands,
    merge_known,
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
from batch_conductor_service.implementations.redis.earlier_versions import import_batch
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchUpdate,
)
from batch_conductor_service.protocols import BatchStateArchiveProtocol
from service_libs.breakers import CircuitBreakers
from service_libs.exceptions import StoreUnavailableError, TransientError
from service_libs.failpoints import failpoint
from service_libs.protocols import ClockProtocol
from service_libs.redis.connections import GiveWayError, RedisCommand
from service_libs.redis.transactions import RedisReaderProtocol


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
        self._archive = archive
        self._breakers = breakers
        self._clock = clock
        self._dependencies = dependencies
        self._ttl_seconds = ttl_seconds

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
        """Return what a kept summary has to be of to be current."""
        return CurrentData(
            server_run=server_run if self._archive else None,
            dependencies=self._dependencies,
        )

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
        found = [parse_touched(update, replies) for update in updates]
        if gives_way and any(one.has_lane for one in found):
            raise GiveWayError
        current, now = self.current(reading.server_run), self._clock.now()
        changes: dict[BatchId, BatchChange] = {}
        for update, one in zip(updates, found, strict=True):
            if change := self._change_essays(one, update, current, now):
                changes[update.batch_id] = change
        others = [update for update in updates if update.batch_id not in changes]
        if others:
            changes |= await self._change_all(reader, others, now)
        plan = TransactionPlan(server_run=current.server_run)
        for update in updates:
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

    def _change_essays(
        self, reading: BatchReading, update: BatchUpdate, current: CurrentData, now: datetime
    ) -> BatchChange | None:
        kept = reading.find_current(current)
        if kept is None or update.registrations or update.outcomes:
            return None
        # Without an archive what is written has not been merged with it any more.
        kept = replace(kept, server_run=current.server_run or "")
        return change_essays(reading.batch, kept, update, self._dependencies, now)

    async def _change_all(
        self, reader: RedisReaderProtocol, updates: Sequence[BatchUpdate], now: datetime
    ) -> dict[BatchId, BatchChange]:
        return {
            kept.summary.batch_id: change_all(batch, kept, queued, now)
            for batch, kept, queued in await self._merge_all(reader, updates)
        }

    async def _merge_all(
        self, reader: RedisReaderProtocol, updates: Sequence[BatchUpdate]
    ) -> list[tuple[KeptBatch, KeptSummary, BatchUpdate]]:
        """Merge what Redis, earlier versions and the archive have of the batches with updates."""
        batch_ids = [update.batch_id for update in updates]
        reading = await reader.read(all_commands(batch_ids))
        found = parse_all(batch_ids, iter(reading.replies))
        current = self.current(reading.server_run)
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
            merge_known(update, one, imported.get(update.batch_id), archived, current)
            for update, one in zip(updates, found.values(), strict=True)
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


def _is_queued(commands: Sequence[RedisCommand]) -> bool:
    """Whether the last of the commands queues something for Postgres."""
    return bool(commands) and commands[-1][0] == "XADD"
