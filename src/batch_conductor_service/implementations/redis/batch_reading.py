"""A batch as a transaction finds it: its summary and what an update touches, or all of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.batch_hash import (
    SUMMARY,
    KeptBatch,
    KeptEssay,
    KeptSummary,
    decode_batch,
    decode_essay,
    decode_summary,
    essay_field,
)
from batch_conductor_service.models import BatchCompletionSummary, BatchId, BatchUpdate, EssayId
from service_libs.redis.transactions import RedisCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentData:
    """What a kept summary has to be of to be believed.

    Attributes:
        server_run: the data that the server has now; None where there is no archive, for then there
            is nothing to merge the batch with.
        dependencies: the version of the dependencies that essays are counted by.
    """

    server_run: str | None
    dependencies: str

    def find_summary(self, kept: KeptSummary | None) -> BatchCompletionSummary | None:
        """Return the summary if it may be believed."""
        if kept is None or not kept.summary.is_whole or not self.is_merged(kept):
            return None
        return kept.summary if kept.dependencies == self.dependencies else None

    def is_merged(self, kept: KeptSummary) -> bool:
        """Whether nothing can have been lost since the batch was merged with the archive."""
        return self.server_run is None or kept.server_run == self.server_run


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReading:
    """What is kept of a batch, as far as an update touches it.

    `has_earlier` says that an earlier version has written to it since it was imported.
    """

    batch_id: BatchId
    kept: KeptSummary | None
    essays: Mapping[EssayId, KeptEssay]
    has_earlier: bool
    has_lane: bool


def summary_commands(batch_id: BatchId) -> list[RedisCommand]:
    """Return the commands that read a summary, however many essays there are."""
    return [
        ("HGET", keys.batch(batch_id), SUMMARY),
        ("EXISTS", keys.earlier_summary(batch_id)),
    ]


def reading_commands(update: BatchUpdate) -> list[RedisCommand]:
    """Return the commands that read what the update touches."""
    batch_id = update.batch_id
    fields = (essay_field(essay_id) for essay_id in touched_essays(update))
    return [
        ("HMGET", keys.batch(batch_id), SUMMARY, *fields),
        ("EXISTS", keys.earlier_summary(batch_id)),
        ("EXISTS", keys.lane(batch_id)),
    ]


def parse_reading(update: BatchUpdate, replies: Iterator[Any]) -> BatchReading:
    """Take the replies to `reading_commands` from the iterator.

    An essay that this version cannot read leaves the batch without a summary: all of it is read
    then.
    """
    (summary, *texts), has_earlier, has_lane = next(replies), next(replies), next(replies)
    batch_id = update.batch_id
    kept = decode_summary(batch_id, summary)
    essays: dict[EssayId, KeptEssay] = {}
    try:
        for essay_id, text in zip(touched_essays(update), texts, strict=True):
            essays[essay_id] = decode_essay(batch_id, essay_id, text)
    except ValueError:
        kept = None
    return BatchReading(
        batch_id=batch_id,
        kept=kept,
        essays=essays,
        has_earlier=bool(has_earlier),
        has_lane=bool(has_lane),
    )


def touched_essays(update: BatchUpdate) -> Sequence[EssayId]:
    """Return the essays that the update says something about, each once."""
    return list(dict.fromkeys(item.essay_id for item in update.evidence))


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeReading:
    """All that is kept of a batch.

    Attributes:
        is_readable: whether this version can read all of it; else it is taken for nothing.
        is_known: whether anything is kept.
        is_waiting: whether Postgres may not have all of the batch yet.
    """

    batch: KeptBatch
    kept: KeptSummary | None
    is_readable: bool
    is_known: bool
    is_waiting: bool


def whole_commands(batch_ids: Iterable[BatchId]) -> list[RedisCommand]:
    """Return the commands that read all of the batches, and what of them waits."""
    commands: list[RedisCommand] = [
        ("HGET", keys.PERSISTENCE_WAITING, keys.WAITING_OF_ALL),
        ("XLEN", keys.PERSISTENCE_QUEUE),
    ]
    for batch_id in batch_ids:
        commands += [
            ("HGETALL", keys.batch(batch_id)),
            ("HGET", keys.PERSISTENCE_WAITING, batch_id),
        ]
    return commands


def parse_whole(
    batch_ids: Iterable[BatchId], replies: Iterator[Any]
) -> dict[BatchId, WholeReading]:
    """Return the batches from the replies to `whole_commands`."""
    counted, queued = next(replies), next(replies)
    # Where the counts of what waits are lost themselves, anything may wait.
    is_counted = int(counted or 0) == queued
    return {
        batch_id: _parse_batch(
            batch_id, dict_of(next(replies)), next(replies), is_counted=is_counted
        )
        for batch_id in batch_ids
    }


def dict_of(reply: Any) -> dict[str, str]:  # noqa: ANN401 - a map or a list, by the protocol
    """Return the fields of a hash, which come as a flat list over the older protocol."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def _parse_batch(
    batch_id: BatchId, fields: Mapping[str, str], waiting: str | None, *, is_counted: bool
) -> WholeReading:
    kept = decode_summary(batch_id, fields.get(SUMMARY))
    try:
        batch, is_readable = decode_batch(batch_id, fields), True
    except ValueError:
        batch, is_readable = KeptBatch(state=BatchState(batch_id)), False
    return WholeReading(
        batch=batch,
        kept=kept,
        is_readable=is_readable,
        is_known=bool(fields),
        is_waiting=waiting is not None or not is_counted,
    )
