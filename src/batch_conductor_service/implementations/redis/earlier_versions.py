"""What earlier versions left of a batch, and what those that still run write.

Each of them writes the hash `keys.earlier_summary` with everything else. So where that is there,
the batch is imported, and all of it deleted in the same transaction. The first versions have no
such hash: theirs is imported when this version has nothing of the batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.documents import EssayDocument, read_document
from batch_conductor_service.models import BatchId, BatchUpdate, EssayId
from batch_conductor_service.persisting.codec import (
    evidence_items,
    outcome_from,
    registration_from,
    text_values,
)
from service_libs.redis.transactions import RedisCommand, RedisReaderProtocol, dict_of

KEYS_PER_SCAN = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedBatch:
    """What was found.

    Attributes:
        update: all of it that can be read.
        unqueued: what of it no version has queued for Postgres.
        is_intact: whether nothing of what was written is missing.
        created_at: when the document of an essay was made.
    """

    update: BatchUpdate
    unqueued: BatchUpdate
    is_intact: bool = True
    created_at: dict[EssayId, str] = field(default_factory=dict)


def forget_earlier(batch_id: BatchId) -> list[RedisCommand]:
    """Return the commands that delete what was imported: whoever wrote it has to look again.

    It is written first, for deleting what is not there would go unseen by a transaction of an
    earlier version that has read so, and has yet to write.
    """
    summary = keys.earlier_summary(batch_id)
    return [
        ("HSET", summary, "imported", 1),
        (
            "DEL",
            summary,
            keys.earlier_index(batch_id),
            keys.earlier_members(batch_id),
            keys.earlier_outcomes(batch_id),
            keys.earlier_registrations(batch_id),
        ),
    ]


async def import_batch(reader: RedisReaderProtocol, batch_id: BatchId) -> ImportedBatch:
    """Return what earlier versions have of the batch; walks the keyspace for the first ones."""
    reading = await reader.read(
        [
            ("HGETALL", keys.earlier_summary(batch_id)),
            ("EXISTS", keys.pipeline_state(batch_id)),
            ("HVALS", keys.earlier_outcomes(batch_id)),
            ("HVALS", keys.earlier_registrations(batch_id)),
            ("SMEMBERS", keys.earlier_index(batch_id)),
        ]
    )
    summary, has_counts, outcomes, registrations, indexed = reading.replies
    fields = dict_of(summary)
    essay_ids = {EssayId(essay_id) for essay_id in indexed}
    if has_counts and not essay_ids:
        essay_ids |= await _find_documents(reader, batch_id)
    documents = await _read_documents(reader, batch_id, sorted(essay_ids))
    update = BatchUpdate(
        batch_id=batch_id,
        evidence=tuple(item for one in documents for item in evidence_items(one.state)),
        outcomes=tuple(text_values(outcomes, outcome_from)),
        registrations=tuple(text_values(registrations, registration_from)),
    )
    first = (one for one in documents if one.is_of_first_versions)
    unqueued = tuple(item for one in first for item in evidence_items(one.state))
    # Without an archive an earlier version queued nothing, and named no run of the server.
    was_queued = bool(fields.get("life"))
    return ImportedBatch(
        update=update,
        unqueued=BatchUpdate(batch_id=batch_id, evidence=unqueued) if was_queued else update,
        is_intact=_is_intact(fields, len(documents), update),
        created_at={one.state.essay_id: one.created_at for one in documents if one.created_at},
    )


def _is_intact(fields: Mapping[str, str], documents: int, update: BatchUpdate) -> bool:
    """Whether there is as much as the summary counts; the first versions had none."""
    found = {
        "whole": 1,
        "essays": documents,
        "outcomes": len(update.outcomes),
        "registrations": len(update.registrations),
    }
    return not fields or all(fields.get(name) == str(count) for name, count in found.items())


async def _find_documents(reader: RedisReaderProtocol, batch_id: BatchId) -> set[EssayId]:
    prefix, cursor = keys.essay_state_prefix(batch_id), 0
    found: set[EssayId] = set()
    while True:
        scan: RedisCommand = ("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", KEYS_PER_SCAN)
        [[next_cursor, some]] = (await reader.read([scan])).replies
        found |= {EssayId(key.removeprefix(prefix)) for key in some}
        cursor = int(next_cursor)
        if cursor == 0:
            return found


async def _read_documents(
    reader: RedisReaderProtocol, batch_id: BatchId, essay_ids: Sequence[EssayId]
) -> list[EssayDocument]:
    if not essay_ids:
        return []
    command = ("MGET", *(keys.essay_state(batch_id, essay_id) for essay_id in essay_ids))
    texts: list[Any] = (await reader.read([command])).replies[0]
    read = (read_document(batch_id, e, t) for e, t in zip(essay_ids, texts, strict=True))
    return [document for document in read if document is not None]
