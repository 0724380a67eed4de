"""The commands that write an update: by difference where the batch is whole, else all of it anew.

Everything a plan computes comes from one reading under WATCH, so it holds when EXEC succeeds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from batch_conductor_service.codec import (
    encode_update,
    time_from,
    time_text,
)
from batch_conductor_service.domain.batch_state import (
    BatchState,
    latest_registration,
)
from batch_conductor_service.domain.merging import merge_evidence, standing_status
from batch_conductor_service.implementations.redis import keys, readings, writes
from batch_conductor_service.implementations.redis.documents import EssayDocument
from batch_conductor_service.implementations.redis.readings import BatchReading
from batch_conductor_service.models import (
    OBSERVED,
    BatchUpdate,
    EssayId,
    EssayProcessingState,
    EssayStep,
    ProcessingStepStatus,
    StepName,
)
from batch_conductor_service.port_values import RedisCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class WritePolicy:
    """How state is written: for how long, and whether a queue entry for Postgres goes with it."""

    ttl_seconds: int
    is_queued: bool


def merge_by_difference(
    reading: BatchReading, update: BatchUpdate, policy: WritePolicy, now: datetime
) -> list[RedisCommand]:
    """Return the commands for a consistent batch: touched documents, and counts by difference.

    For essays' own events. An outcome or a registration may say anew what of all essays counts.
    """
    fields = _known_counts(reading, update)
    commands: list[RedisCommand] = []
    for essay, before, after in _changed_essays(reading, update):
        commands.append(
            writes.set_document(after, reading.documents[essay], policy.ttl_seconds, now)
        )
        if reading.fields["expected"] == "0" or essay in reading.expected:
            for step in after.steps:
                if after.steps[step] != before.get(step):
                    _count_essay(fields, step, before.get(step), after.steps[step])
    new_essays = reading.documents.keys() - reading.indexed
    fields["essays"] = str(int(reading.fields["essays"]) + len(new_essays))
    if new_essays:
        commands.append(("SADD", keys.batch_index(reading.batch_id), *sorted(new_essays)))
    return [
        *commands,
        *writes.set_fields(reading.batch_id, fields),
        *writes.renew_batch(reading.batch_id, policy.ttl_seconds),
        *queue_entry(update, policy),
    ]


def write_whole(
    state: BatchState,
    documents: Mapping[EssayId, EssayDocument],
    policy: WritePolicy,
    now: datetime,
    *,
    is_whole: bool,
    life: str | None,
) -> list[RedisCommand]:
    """Return the commands that write all of a batch anew; nothing when nothing is known of it."""
    everything = state.as_update()
    essays = state.essays()
    if not (essays or everything.outcomes or everything.registrations):
        return []
    registration = latest_registration(everything.registrations)
    members = registration.essay_ids if registration else ()
    fields = writes.summary_fields(state.summarise(), is_whole=is_whole) | {
        readings.LIFE: life or ""
    }
    sizes = (len(essays), len(members), len(everything.outcomes), len(everything.registrations))
    fields |= {name: str(size) for name, size in zip(readings.SIZES, sizes, strict=True)}
    batch_id = state.batch_id
    return [
        ("DEL", *keys.batch_keys(batch_id)),
        *(
            writes.set_document(essay, documents.get(essay.essay_id), policy.ttl_seconds, now)
            for essay in essays
        ),
        *writes.add_members(keys.batch_index(batch_id), [essay.essay_id for essay in essays]),
        *writes.add_members(keys.batch_expected(batch_id), members),
        *writes.set_outcomes(batch_id, everything.outcomes),
        *writes.set_registrations(batch_id, everything.registrations),
        *writes.set_fields(batch_id, fields),
        *writes.renew_batch(batch_id, policy.ttl_seconds),
    ]


def queue_entry(update: BatchUpdate, policy: WritePolicy) -> list[RedisCommand]:
    """Return the commands that queue the update for Postgres, always the last of a plan.

    The entry carries what the events said, not what changed in Redis: an event that Redis knows
    already may be one that Postgres never got.
    """
    says_something = update.evidence or update.outcomes or update.registrations
    if not (policy.is_queued and says_something):
        return []
    return [
        ("HINCRBY", keys.PERSISTENCE_WAITING, update.batch_id, 1),
        ("HINCRBY", keys.PERSISTENCE_WAITING, keys.WAITING_OF_ALL, 1),
        (
            *("XADD", keys.PERSISTENCE_QUEUE, "*"),
            *("batch", update.batch_id, "update", encode_update(update)),
        ),
    ]


def _changed_essays(
    reading: BatchReading, update: BatchUpdate
) -> Iterable[tuple[EssayId, Mapping[StepName, EssayStep], EssayProcessingState]]:
    merged: dict[EssayId, dict[StepName, EssayStep]] = {}
    for item in update.evidence:
        steps = merged.setdefault(item.essay_id, dict(_steps(reading.documents[item.essay_id])))
        sources = dict(steps[item.step].sources) if item.step in steps else {}
        sources[item.source] = merge_evidence(item.source, sources.get(item.source), item.evidence)
        steps[item.step] = EssayStep(sources=sources)
    for essay, steps in merged.items():
        before = _steps(reading.documents[essay])
        if steps != before:
            after = EssayProcessingState(batch_id=reading.batch_id, essay_id=essay, steps=steps)
            yield essay, before, after


def _known_counts(reading: BatchReading, update: BatchUpdate) -> dict[str, str]:
    """Return the fields of the steps that the update touches, as they are."""
    steps = {item.step for item in update.evidence}
    counts = (f"{name}:{step}" for name in (readings.COMPLETED, readings.FAILED) for step in steps)
    times = (
        f"{name}:{step}" for name in (readings.OBSERVED_AT, readings.REFUTED_AT) for step in steps
    )
    return {field: reading.fields.get(field, "0") for field in counts} | {
        field: reading.fields[field] for field in times if field in reading.fields
    }


def _count_essay(
    fields: dict[str, str], step: StepName, before: EssayStep | None, after: EssayStep
) -> None:
    refuted_text = fields.get(f"{readings.REFUTED_AT}:{step}")
    refuted_at = time_from(refuted_text) if refuted_text else None
    was = standing_status(before, refuted_at) if before else None
    now = standing_status(after, refuted_at)
    for name, status in (
        (readings.COMPLETED, ProcessingStepStatus.COMPLETED),
        (readings.FAILED, ProcessingStepStatus.FAILED),
    ):
        field = f"{name}:{step}"
        fields[field] = str(int(fields[field]) + (now is status) - (was is status))
    if OBSERVED in after.sources:
        field = f"{readings.OBSERVED_AT}:{step}"
        observed_at = time_text(after.sources[OBSERVED].occurred_at)
        fields[field] = max(fields.get(field, ""), observed_at)


def _steps(document: EssayDocument | None) -> Mapping[StepName, EssayStep]:
    return document.state.steps if document else {}
