"""What earlier versions left of a batch, and what those that still run write.

Each of them writes the hash `keys.earlier_summary` with everything else. So where that is there,
the batch is imported, and all of it deleted in the same transaction. The first versions have no
such hash: theirs is imported when this version has nothing of the batch. Their documents have only
`batch_id`, `completed_steps`, `step_metadata` and `created_at`, with no time for each step. What
they say is taken as the oldest evidence there can be: any event outranks it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.models import (
    OBSERVED,
    BatchId,
    BatchUpdate,
    EssayId,
    EssayProcessingState,
    EssayStep,
    ProcessingStepStatus,
    StepEvidence,
    StepName,
)
from batch_conductor_service.persisting.codec import (
    evidence_from,
    outcome_from,
    registration_from,
    time_from,
)
from service_libs.redis.connections import RedisCommand, dict_of
from service_libs.redis.transactions import RedisReaderProtocol

KEYS_PER_SCAN = 1000
OLDEST = datetime(1970, 1, 1, tzinfo=UTC)

# What the first versions wrote beside a step that is done; anything else there may be a failure.
_SUCCESS = frozenset({None, "completed", "completed_successfully", "success", "successful"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedBatch:
    """What was found.

    Attributes:
        update: all of it that can be read.
        unqueued: what of it no version has queued for Postgres.
        is_whole: whether nothing of what was written is missing.
        created_at: when the document of an essay was made.
    """

    update: BatchUpdate
    unqueued: BatchUpdate
    is_whole: bool
    created_at: Mapping[EssayId, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """The document of an essay; that of the first versions has not reached Postgres."""

    state: EssayProcessingState
    created_at: str | None
    is_of_first_versions: bool


async def import_batch(reader: RedisReaderProtocol, batch_id: BatchId) -> ImportedBatch:
    """Return what earlier versions have of the batch; walks the keyspace for the first ones."""
    reading = await reader.read(
        [
            ("HGETALL", keys.earlier_summary(batch_id)),
            ("EXISTS", keys.pipeline_state(batch_id)),
            ("HVALS", keys.earlier(batch_id, "outcomes")),
            ("HVALS", keys.earlier(batch_id, "registrations")),
            ("SMEMBERS", keys.earlier(batch_id, "essays")),
        ]
    )
    summary, has_counts, outcomes, registrations, indexed = reading.replies
    fields = dict_of(summary)
    essay_ids = {EssayId(essay_id) for essay_id in indexed}
    if has_counts and not essay_ids:
        essay_ids |= await _find_essays(reader, batch_id)
    documents = await _read_documents(reader, batch_id, sorted(essay_ids))
    update = replace(
        _evidence_of(batch_id, documents),
        outcomes=tuple(_read_all(outcomes, outcome_from)),
        registrations=tuple(_read_all(registrations, registration_from)),
    )
    # Without an archive an earlier version queued nothing, and named no run of the server.
    was_queued = bool(fields.get("life"))
    first = [one for one in documents if one.is_of_first_versions]
    return ImportedBatch(
        update=update,
        unqueued=_evidence_of(batch_id, first) if was_queued else update,
        is_whole=_is_whole(fields, len(documents), update),
        created_at={one.state.essay_id: one.created_at for one in documents if one.created_at},
    )


def _evidence_of(batch_id: BatchId, documents: Iterable[_Document]) -> BatchUpdate:
    state = BatchState(batch_id)
    for document in documents:
        state.merge_essay(document.state)
    return state.as_update()


def _is_whole(fields: Mapping[str, str], documents: int, update: BatchUpdate) -> bool:
    """Whether there is as much as the summary counts; the first versions had none."""
    found = {
        "whole": 1,
        "essays": documents,
        "outcomes": len(update.outcomes),
        "registrations": len(update.registrations),
    }
    return not fields or all(fields.get(name) == str(count) for name, count in found.items())


def _read_all(texts: Iterable[str], read: Callable[[Mapping[str, Any]], Any]) -> list[Any]:
    """Return what the texts hold, without those that cannot be read: the archive has them still."""
    values = []
    for text in texts:
        with suppress(ValueError, KeyError, TypeError):
            values.append(read(orjson.loads(text)))
    return values


async def _find_essays(reader: RedisReaderProtocol, batch_id: BatchId) -> set[EssayId]:
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
) -> list[_Document]:
    """Return the documents that are there and can be read."""
    if not essay_ids:
        return []
    command = ("MGET", *(keys.essay_state(batch_id, essay_id) for essay_id in essay_ids))
    texts: list[Any] = (await reader.read([command])).replies[0]
    documents = []
    for essay_id, text in zip(essay_ids, texts, strict=True):
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            documents.append(_decode_document(batch_id, essay_id, orjson.loads(text or "null")))
    return documents


def _decode_document(batch_id: BatchId, essay_id: EssayId, json: Mapping[str, Any]) -> _Document:
    metadata, created_at = json.get("step_metadata") or {}, json.get("created_at")
    completed = json.get("completed_steps") or ()
    has_sources = all("sources" in known for known in metadata.values())
    is_of_first_versions = not (has_sources and set(completed) <= metadata.keys())
    if is_of_first_versions:
        at = time_from(created_at) if created_at else OLDEST
        found = {step: {OBSERVED: _first_evidence(metadata.get(step), at)} for step in completed}
    else:
        found = {
            step: {source: evidence_from(said) for source, said in known["sources"].items()}
            for step, known in metadata.items()
        }
    steps = {StepName(step): EssayStep(sources=sources) for step, sources in found.items()}
    return _Document(
        state=EssayProcessingState(batch_id=batch_id, essay_id=essay_id, steps=steps),
        created_at=created_at,
        is_of_first_versions=is_of_first_versions,
    )


def _first_evidence(known: object, at: datetime) -> StepEvidence:
    details = known if isinstance(known, dict) else {}
    said = {details.get(name) for name in ("status", "completion_status", "outcome")}
    status = ProcessingStepStatus.COMPLETED if said <= _SUCCESS else ProcessingStepStatus.FAILED
    return StepEvidence(status=status, occurred_at=at, storage_id=details.get("storage_id"))
