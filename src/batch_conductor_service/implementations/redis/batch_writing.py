"""What an update changes of a batch, and the commands that write it. No I/O.

An essay's own event changes one essay and, by the difference it makes, the summary. An outcome or a
registration may say of every essay whether it counts, so then all of them are counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from batch_conductor_service.domain.counting import Tally, tally_essay, with_difference
from batch_conductor_service.domain.merging import merge_evidence
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.batch_hash import (
    SUMMARY,
    KeptBatch,
    KeptEssay,
    KeptSummary,
    encode_changes,
    encode_essay,
    encode_summary,
    essay_field,
    flat,
)
from batch_conductor_service.implementations.redis.batch_reading import BatchReading
from batch_conductor_service.implementations.redis.documents import encode_document
from batch_conductor_service.implementations.redis.earlier_versions import forget_earlier
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchUpdate,
    EssayEvidence,
    EssayId,
    EssayProcessingState,
    EssayStep,
    StepName,
)
from batch_conductor_service.persisting.codec import encode_update, time_text
from service_libs.redis.transactions import RedisCommand

UNKNOWN_TTL_SECONDS = 60  # for that nobody has heard of a batch


@dataclass(frozen=True, slots=True, kw_only=True)
class WritePolicy:
    """How state is written: for how long, and whether a queue entry for Postgres goes with it."""

    ttl_seconds: int
    is_queued: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchChange:
    """A batch after an update.

    Attributes:
        kept: the summary.
        essays: those that changed, as they are now.
        fields: the changed fields of the hash but for the summary.
        queued: what Postgres is to get.
        is_new_hash: whether what was kept is of no use and is deleted.
    """

    kept: KeptSummary
    essays: Mapping[EssayId, KeptEssay]
    fields: Mapping[str, str]
    queued: BatchUpdate
    is_new_hash: bool = False


def change_essays(
    reading: BatchReading,
    kept: KeptSummary,
    update: BatchUpdate,
    dependencies: StepDependencies,
    now: datetime,
) -> BatchChange | None:
    """Return what essays' own events change, or None where all essays have to be counted."""
    summary: BatchCompletionSummary | None = kept.summary
    changed: dict[EssayId, KeptEssay] = {}
    for essay_id, said in _by_essay(update.evidence).items():
        known = reading.essays[essay_id]
        essay = _merge_essay(known, said, now)
        if essay.state.steps == known.state.steps:
            continue
        changed[essay_id] = essay
        summary = summary and _count_change(summary, known, essay, dependencies)
    if summary is None:
        return None
    return BatchChange(
        kept=replace(kept, summary=summary),
        essays=changed,
        fields={essay_field(name): encode_essay(one) for name, one in changed.items()},
        queued=update,
    )


def change_whole(
    batch: KeptBatch, kept: KeptSummary, queued: BatchUpdate, now: datetime, *, is_readable: bool
) -> BatchChange:
    """Return what is to be written so that the hash holds the state and the summary."""
    fields, changed = encode_changes(batch, now)
    heard_of = {essay_id: one for essay_id, one in changed.items() if one.state.steps}
    return BatchChange(
        kept=kept, essays=heard_of, fields=fields, queued=queued, is_new_hash=not is_readable
    )


def write_commands(change: BatchChange, policy: WritePolicy, now: datetime) -> list[RedisCommand]:
    """Return the commands that write a change; the last queues it, if it says anything."""
    summary = change.kept.summary
    batch_id, key = summary.batch_id, keys.batch(summary.batch_id)
    fields = {SUMMARY: encode_summary(change.kept), **change.fields}
    if _is_unknown(change):
        return [("HSET", key, *flat(fields)), ("EXPIRE", key, UNKNOWN_TTL_SECONDS)]
    counts: dict[str, str] = {n: str(step.completed) for n, step in summary.steps.items()}
    return [
        *forget_earlier(batch_id),
        *([("DEL", key)] if change.is_new_hash else []),
        ("HSET", key, *flat(fields)),
        ("EXPIRE", key, policy.ttl_seconds),
        *_documents(change, policy, now),
        *_counts(keys.pipeline_state(batch_id), counts, policy),
        *_queue_entry(change.queued, policy),
    ]


def is_queued(commands: Sequence[RedisCommand]) -> bool:
    """Whether the last of the commands queues something for Postgres."""
    return bool(commands) and commands[-1][0] == "XADD"


def _is_unknown(change: BatchChange) -> bool:
    """Whether nobody has heard of the batch, which is kept for a short time."""
    return not (change.kept.summary.steps or change.fields or _says_something(change.queued))


def _documents(change: BatchChange, policy: WritePolicy, now: datetime) -> Iterable[RedisCommand]:
    batch_id = change.kept.summary.batch_id
    for essay_id, essay in change.essays.items():
        key = keys.essay_state(batch_id, essay_id)
        yield ("SET", key, encode_document(essay, now), "EX", policy.ttl_seconds)


def _counts(key: str, counts: Mapping[str, str], policy: WritePolicy) -> list[RedisCommand]:
    if not counts:
        return []
    return [("HSET", key, *flat(counts)), ("EXPIRE", key, policy.ttl_seconds)]


def _queue_entry(update: BatchUpdate, policy: WritePolicy) -> list[RedisCommand]:
    """Return the commands that queue the update for Postgres, or note that it was not queued.

    The entry carries what the events said, not what changed in Redis: an event that Redis knows
    already may be one that Postgres never got.
    """
    if not _says_something(update):
        return []
    if not policy.is_queued:
        return [("SADD", keys.UNARCHIVED, update.batch_id)]
    payload = encode_update(update)
    return [
        ("SREM", keys.UNARCHIVED, update.batch_id),
        ("HINCRBY", keys.PERSISTENCE_WAITING, update.batch_id, 1),
        ("HINCRBY", keys.PERSISTENCE_WAITING, keys.WAITING_OF_ALL, 1),
        ("INCRBY", keys.PERSISTENCE_BYTES, len(payload)),
        (
            *("XADD", keys.PERSISTENCE_QUEUE, "*"),
            *("batch", update.batch_id, "update", payload),
        ),
    ]


def _says_something(update: BatchUpdate) -> bool:
    return bool(update.evidence or update.outcomes or update.registrations)


def _by_essay(evidence: Iterable[EssayEvidence]) -> dict[EssayId, list[EssayEvidence]]:
    grouped: dict[EssayId, list[EssayEvidence]] = {}
    for item in evidence:
        grouped.setdefault(item.essay_id, []).append(item)
    return grouped


def _merge_essay(known: KeptEssay, said: Iterable[EssayEvidence], now: datetime) -> KeptEssay:
    steps: dict[StepName, EssayStep] = dict(known.state.steps)
    for item in said:
        sources = dict(steps[item.step].sources) if item.step in steps else {}
        sources[item.source] = merge_evidence(item.source, sources.get(item.source), item.evidence)
        steps[item.step] = EssayStep(sources=sources)
    state: EssayProcessingState = replace(known.state, steps=steps)
    return replace(known, state=state, created_at=_created_at(known, now))


def _count_change(
    summary: BatchCompletionSummary,
    known: KeptEssay,
    essay: KeptEssay,
    dependencies: StepDependencies,
) -> BatchCompletionSummary | None:
    if summary.names_essays and not known.is_member:
        unchanged = {name: Tally() for name in essay.state.steps}
        return with_difference(summary, {}, unchanged, is_new=False)
    return with_difference(
        summary,
        tally_essay(summary, dependencies, known.state.steps),
        tally_essay(summary, dependencies, essay.state.steps),
        is_new=not known.state.steps,
    )


def _created_at(known: KeptEssay | None, now: datetime) -> str:
    return (known and known.created_at) or time_text(now)
