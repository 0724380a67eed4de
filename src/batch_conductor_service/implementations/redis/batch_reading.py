"""A batch as a transaction finds it: its summary and what an update touches, or all of it.

Where what is kept in Redis is not whole, it is merged with all else that knows of the batch.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.batch_hash import (
    SUMMARY,
    KeptBatch,
    KeptEssay,
    KeptSummary,
    decode_batch,
    essay_field,
)
from batch_conductor_service.implementations.redis.earlier_versions import ImportedBatch
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchUpdate,
    EssayProcessingState,
)
from service_libs.redis.connections import RedisCommand, dict_of

Archived = Mapping[BatchId, BatchState] | None  # None where the archive cannot be reached


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentData:
    """What a kept summary has to be of to be current.

    It is *current*, and answered from, if it is whole, nothing can have been lost since the batch
    was merged with the archive, and its essays were counted by the dependencies of now.

    Attributes:
        server_run: the data that the server has now; None where there is no archive, for then there
            is nothing to merge the batch with.
        dependencies: those that essays are counted by.
    """

    server_run: str | None
    dependencies: StepDependencies

    def find_summary(self, kept: KeptSummary | None) -> BatchCompletionSummary | None:
        """Return the summary if it is current."""
        if kept is None or not self.is_merged(kept):
            return None
        return kept.summary if kept.dependencies == self.dependencies.version else None

    def is_merged(self, kept: KeptSummary) -> bool:
        """Whether it is whole, and nothing can have been lost since it was merged."""
        return kept.summary.is_whole and self.server_run in (None, kept.server_run)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReading:
    """A batch as it was found.

    Attributes:
        has_earlier: whether an earlier version has written to it since it was imported.
        has_lane: whether another writer has its lane; asked with what an update touches.
        is_waiting: whether Postgres may not have all of it yet; asked with all of it.
    """

    batch: KeptBatch
    has_earlier: bool
    has_lane: bool = False
    is_waiting: bool = False

    def is_merged(self, current: CurrentData) -> bool:
        """Whether the evidence that was read is whole."""
        kept = self.batch.summary
        is_usable = self.batch.is_readable and not self.has_earlier
        return is_usable and kept is not None and current.is_merged(kept)

    def find_current(self, current: CurrentData) -> KeptSummary | None:
        """Return what is kept of the summary if it is current, as is what was read with it."""
        kept = self.batch.summary
        return kept if self.is_merged(current) and current.find_summary(kept) else None


def summary_commands(batch_id: BatchId) -> list[RedisCommand]:
    """Return the commands that read a summary, however many essays there are."""
    return [
        ("HGET", keys.batch(batch_id), SUMMARY),
        ("EXISTS", keys.earlier_summary(batch_id)),
    ]


def touched_commands(update: BatchUpdate) -> list[RedisCommand]:
    """Return the commands that read the summary, and what the update touches."""
    batch_id = update.batch_id
    return [
        ("HMGET", keys.batch(batch_id), *_touched_fields(update)),
        ("EXISTS", keys.earlier_summary(batch_id)),
        ("EXISTS", keys.lane(batch_id)),
    ]


def parse_touched(update: BatchUpdate, replies: Iterator[Any]) -> BatchReading:
    """Take the replies to `touched_commands` from the iterator."""
    fields = dict(zip(_touched_fields(update), next(replies), strict=True))
    return BatchReading(
        batch=decode_batch(update.batch_id, fields),
        has_earlier=bool(next(replies)),
        has_lane=bool(next(replies)),
    )


def all_commands(batch_ids: Iterable[BatchId]) -> list[RedisCommand]:
    """Return the commands that read all of the batches, and what of them waits."""
    commands: list[RedisCommand] = [
        ("HGET", keys.PERSISTENCE_WAITING, keys.WAITING_OF_ALL),
        ("XLEN", keys.PERSISTENCE_QUEUE),
    ]
    for batch_id in batch_ids:
        commands += [
            ("HGETALL", keys.batch(batch_id)),
            ("EXISTS", keys.earlier_summary(batch_id)),
            ("HEXISTS", keys.PERSISTENCE_WAITING, batch_id),
        ]
    return commands


def parse_all(
    batch_ids: Iterable[BatchId], replies: Iterator[Any]
) -> Mapping[BatchId, BatchReading]:
    """Take the replies to `all_commands` from the iterator."""
    counted, queued = next(replies), next(replies)
    # Where the counts of what waits are lost themselves, anything may wait.
    is_counted = int(counted or 0) == queued
    return {
        batch_id: BatchReading(
            batch=decode_batch(batch_id, dict_of(next(replies))),
            has_earlier=bool(next(replies)),
            is_waiting=bool(next(replies)) or not is_counted,
        )
        for batch_id in batch_ids
    }


def merge_known(
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
    batch, queued = reading.batch, BatchState(update.batch_id)
    if imported is not None:
        batch = _with_creation_times(batch, imported)
        batch.state.merge(imported.update)
        queued.merge(imported.unqueued)
    if batch.summary is not None and not batch.summary.server_run:
        # It was written while there was no archive, which may have nothing of it.
        queued.merge(batch.state.as_update())
    batch.state.merge(update)
    queued.merge(update)
    if archived and (known := archived.get(update.batch_id)) is not None:
        batch.state.merge(known.as_update())
    summary = batch.state.summarise(current.dependencies)
    kept = KeptSummary(
        summary=replace(summary, is_whole=_is_whole(reading, imported, archived, current)),
        server_run=current.server_run or "",
        dependencies=current.dependencies.version,
    )
    return batch, kept, queued.as_update()


def _touched_fields(update: BatchUpdate) -> list[str]:
    """Return the summary's field, and one for each essay that something is said about."""
    return [SUMMARY, *dict.fromkeys(essay_field(item.essay_id) for item in update.evidence)]


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
