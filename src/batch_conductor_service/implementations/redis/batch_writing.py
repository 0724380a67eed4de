"""What an update changes of a batch, and the commands that write it. No I/O.

An essay's own event changes one essay and, by the difference it makes, the summary. An outcome or a
registration may say of every essay whether it counts, so then all of them are counted.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import orjson

from batch_conductor_service.domain.counting import (
    CountingRules,
    Difference,
    Tally,
    judge_essay,
    tally_essay,
    with_differences,
)
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.batch_hash import (
    KeptBatch,
    KeptEssay,
    encode_essay,
    encode_reports,
    essay_field,
    steps_json,
)
from batch_conductor_service.implementations.redis.summary import (
    SUMMARY,
    KeptSummary,
    encode_summary,
)
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchUpdate,
    EssayId,
    EssayProcessingState,
    ProcessingStepStatus,
    StepName,
)
from batch_conductor_service.persisting.codec import Json, encode_update, time_text
from service_libs.redis.connections import RedisCommand

UNKNOWN_TTL_SECONDS = 60  # for that nobody has heard of a batch


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchChange:
    """A batch after an update.

    Attributes:
        kept: the summary.
        essays: those that are not as they were read.
        reports: the fields of outcomes and registrations that are not as they were read.
        queued: what Postgres is to get.
        is_new_hash: whether what was kept is of no use and is deleted.
    """

    kept: KeptSummary
    essays: Mapping[EssayId, KeptEssay]
    queued: BatchUpdate
    reports: Mapping[str, str]
    is_new_hash: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nobody has heard of the batch, which is kept for a short time."""
        summary = self.kept.summary
        return not (summary.steps or self.essays or self.reports or _says_something(self.queued))


def change_essays(
    batch: KeptBatch,
    kept: KeptSummary,
    update: BatchUpdate,
    dependencies: StepDependencies,
    now: datetime,
) -> BatchChange | None:
    """Return what essays' own events change, or None where all essays have to be counted.

    The batch has the essays that the update touches; it is merged into them.
    """
    batch.state.merge(update)
    changed, created_at = {}, time_text(now)
    for state in batch.state.each_essay():
        known = batch.essays[state.essay_id]
        if state.steps != known.state.steps:
            essay = _keep(known, state, created_at, is_member=known.is_member)
            changed[state.essay_id] = essay
    rules = CountingRules(kept.summary, dependencies)
    summary = with_differences(
        kept.summary,
        (
            _difference(kept.summary, rules, batch.essays[essay_id], essay)
            for essay_id, essay in changed.items()
        ),
    )
    if summary is None:
        return None
    return BatchChange(
        kept=replace(kept, summary=summary), essays=changed, reports={}, queued=update
    )


def change_all(
    batch: KeptBatch, kept: KeptSummary, queued: BatchUpdate, now: datetime
) -> BatchChange:
    """Return what is to be written so that the hash holds the state and the summary.

    Every member of the batch gets a field, for its events to find that it counts. The batch has the
    essays and reports as they were read, and the state as it is now.
    """
    members = batch.state.members() or frozenset()
    essays, created_at = {}, time_text(now)
    for state in _each_place(batch, members):
        known = batch.essays.get(state.essay_id)
        essay = _keep(known, state, created_at, is_member=state.essay_id in members)
        if essay != known:
            essays[state.essay_id] = essay
    reports = encode_reports(batch.state.reports())
    return BatchChange(
        kept=kept,
        essays=essays,
        reports={name: text for name, text in reports.items() if batch.reports.get(name) != text},
        queued=queued,
        is_new_hash=not batch.is_readable,
    )


def write_commands(change: BatchChange, ttl_seconds: int, now: datetime) -> list[RedisCommand]:
    """Return the commands that write a change; the last queues it, if it says anything."""
    summary = change.kept.summary
    batch_id, key = summary.batch_id, keys.batch(summary.batch_id)
    fields = {SUMMARY: encode_summary(change.kept), **change.reports}
    said = {essay_id: steps_json(one.state) for essay_id, one in change.essays.items()}
    for essay_id, essay in change.essays.items():
        fields[essay_field(essay_id)] = encode_essay(essay, said[essay_id])
    if change.is_empty:
        return [_set_fields(key, fields), ("EXPIRE", key, UNKNOWN_TTL_SECONDS)]
    return [
        *forget_earlier(batch_id),
        *([("DEL", key)] if change.is_new_hash else []),
        _set_fields(key, fields),
        ("EXPIRE", key, ttl_seconds),
        *_documents(change, said, ttl_seconds, now),
        *_counts(summary, ttl_seconds),
        *_queue_entry(change),
    ]


def forget_earlier(batch_id: BatchId) -> list[RedisCommand]:
    """Return the commands that delete what was imported: whoever wrote it has to look again.

    It is written first, for deleting what is not there would go unseen by a transaction of an
    earlier version that has read so, and has yet to write.
    """
    summary = keys.earlier_summary(batch_id)
    return [
        ("HSET", summary, "imported", 1),
        ("DEL", summary, *(keys.earlier(batch_id, part) for part in keys.EARLIER_PARTS)),
    ]


def _keep(
    known: KeptEssay | None, state: EssayProcessingState, created_at: str, *, is_member: bool
) -> KeptEssay:
    return KeptEssay(
        state=state,
        created_at=(known and known.created_at) or created_at,
        is_member=is_member,
    )


def _difference(
    summary: BatchCompletionSummary, rules: CountingRules, known: KeptEssay, essay: KeptEssay
) -> Difference:
    if summary.names_essays and not known.is_member:
        unchanged = {name: Tally() for name in essay.state.steps}
        return Difference({}, unchanged, is_new=False)
    return Difference(
        tally_essay(rules, known.state.steps),
        tally_essay(rules, essay.state.steps),
        is_new=not known.state.steps,
    )


def _each_place(batch: KeptBatch, members: frozenset[EssayId]) -> Iterator[EssayProcessingState]:
    """Yield every essay that has a field, or is to get one: also one that was a member before."""
    unheard = set(members | batch.essays.keys())
    for state in batch.state.each_essay():
        unheard.discard(state.essay_id)
        yield state
    for essay_id in unheard:
        yield EssayProcessingState(batch_id=batch.state.batch_id, essay_id=essay_id)


def _set_fields(key: str, fields: Mapping[str, str]) -> RedisCommand:
    return ("HSET", key, *(part for pair in fields.items() for part in pair))


def _documents(
    change: BatchChange,
    said: Mapping[EssayId, Mapping[StepName, Json]],
    ttl_seconds: int,
    now: datetime,
) -> Iterable[RedisCommand]:
    prefix = keys.essay_state_prefix(change.kept.summary.batch_id)
    updated_at = time_text(now)
    for essay_id, essay in change.essays.items():
        if essay.state.steps:  # else nobody has heard of it yet
            document = _encode_document(essay, said[essay_id], updated_at)
            yield ("SET", prefix + essay_id, document, "EX", ttl_seconds)


def _encode_document(essay: KeptEssay, said: Mapping[StepName, Json], updated_at: str) -> bytes:
    """Return the JSON document of an essay, which others read.

    Times as text are of one width, so the latest text is the latest time.
    """
    state = essay.state
    holds = {step: judge_essay(step, known.sources) for step, known in state.steps.items()}
    completed = ProcessingStepStatus.COMPLETED
    return orjson.dumps(
        {
            "essay_id": state.essay_id,
            "batch_id": state.batch_id,
            "completed_steps": sorted(s for s, e in holds.items() if e.status is completed),
            "step_metadata": {
                step: {
                    "status": str(holds[step].status),
                    "timestamp": max(one["at"] for one in sources.values()),
                    "storage_id": holds[step].storage_id,
                    "sources": sources,
                }
                for step, sources in said.items()
            },
            "created_at": essay.created_at,
            "last_updated": updated_at,
        }
    )


def _counts(summary: BatchCompletionSummary, ttl_seconds: int) -> list[RedisCommand]:
    """Return the commands that write the counts, which others read."""
    if not summary.steps:
        return []
    key = keys.pipeline_state(summary.batch_id)
    counts: dict[str, str] = {n: str(step.completed) for n, step in summary.steps.items()}
    return [_set_fields(key, counts), ("EXPIRE", key, ttl_seconds)]


def _queue_entry(change: BatchChange) -> list[RedisCommand]:
    """Return the commands that queue the update for Postgres, or note that it was not queued.

    The entry carries what the events said, not what changed in Redis: an event that Redis knows
    already may be one that Postgres never got.
    """
    update = change.queued
    if not _says_something(update):
        return []
    if not change.kept.server_run:  # there is no archive
        return [("SADD", keys.UNARCHIVED, update.batch_id)]
    payload = encode_update(update)
    return [
        ("SREM", keys.UNARCHIVED, update.batch_id),
        ("HINCRBY", keys.PERSISTENCE_WAITING, update.batch_id, 1),
        ("HINCRBY", keys.PERSISTENCE_WAITING, keys.WAITING_OF_ALL, 1),
        ("INCRBY", keys.PERSISTENCE_BYTES, len(payload)),
        ("XADD", keys.PERSISTENCE_QUEUE, "*", "batch", update.batch_id, "update", payload),
    ]


def _says_something(update: BatchUpdate) -> bool:
    return bool(update.evidence or update.outcomes or update.registrations)
