"""What tests say about a batch, in short: as updates, and as events the way neighbours send them.

Events come as `(topic, key, value)`. As from a real relay, each call makes a new `event_id`.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid4, uuid5

from batch_conductor_service.models import (
    OBSERVED,
    BatchId,
    BatchRegistration,
    BatchUpdate,
    EssayEvidence,
    EssayId,
    OutcomeVerdict,
    PhaseOutcome,
    ProcessingStepStatus,
    StepEvidence,
    StepName,
)
from common_core.records import RecordPosition
from common_core.topics import EventName, topic_name

# Lately, as records are: a broker deletes what is old, and a record's own time is believed.
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
DAY = NOON.date().isoformat()


class RecordedEvent(NamedTuple):
    """An event as Kafka carries it."""

    topic: str
    key: bytes
    value: bytes

    @property
    def timestamp_ms(self) -> int | None:
        """When its sender made the record: then it made the envelope, too."""
        try:
            time = datetime.fromisoformat(json.loads(self.value)["event_timestamp"])
        except (ValueError, KeyError, TypeError):
            return None
        return int(time.timestamp() * 1000)


def minutes(count: float) -> datetime:
    """Return the time that many minutes after noon."""
    return NOON + timedelta(minutes=count)


def essay_names(count: int) -> tuple[str, ...]:
    """Return `essay-1` to `essay-<count>`."""
    return tuple(f"essay-{number}" for number in range(1, count + 1))


# Updates.


def evidence(
    essay: str,
    status: str = "completed",
    at: datetime = NOON,
    *,
    step: str = "spellcheck",
    source: str = OBSERVED,
    storage_id: str | None = None,
) -> EssayEvidence:
    """Return a statement about one essay."""
    stated = StepEvidence(
        status=ProcessingStepStatus(status), occurred_at=at, storage_id=storage_id
    )
    return EssayEvidence(
        essay_id=EssayId(essay), step=StepName(step), evidence=stated, source=source
    )


def outcome(
    verdict: str = "confirms",
    at: datetime = NOON,
    *,
    step: str = "spellcheck",
    total: int = 0,
    fingerprint: str = "",
) -> PhaseOutcome:
    """Return how a phase ended; outcomes with equal arguments but the time are one outcome."""
    return PhaseOutcome(
        step=StepName(step),
        fingerprint=fingerprint or f"{verdict}-{step}-{total}",
        occurred_at=at,
        status=f"status-{verdict}",
        verdict=OutcomeVerdict(verdict),
        reported_total=total,
    )


def reported(
    essays: Sequence[str],
    at: datetime = NOON,
    *,
    step: str = "spellcheck",
    failed: Sequence[str] = (),
    verdict: str | None = None,
    fingerprint: str = "",
) -> tuple[EssayEvidence | PhaseOutcome, ...]:
    """Return an outcome, and what it says of each essay."""
    verdict = verdict or ("partial" if failed else "confirms")
    source = fingerprint or "-".join((verdict, step, *essays, "/", *failed))
    return (
        *(
            evidence(one, at=at, step=step, source=source, storage_id=f"{step}-{one}")
            for one in essays
        ),
        *(evidence(one, "failed", at, step=step, source=source) for one in failed),
        outcome(verdict, at, step=step, total=len(essays) + len(failed), fingerprint=source),
    )


def registration(
    total: int, at: datetime = NOON, *, essays: Sequence[str] = (), fingerprint: str = ""
) -> BatchRegistration:
    """Return how many essays a batch has."""
    return BatchRegistration(
        fingerprint=fingerprint or f"registered-{total}-{'-'.join(essays)}",
        occurred_at=at,
        repeated_at=at,
        essays_total=total,
        essay_ids=tuple(EssayId(essay) for essay in essays),
    )


def update(
    batch: str,
    *items: EssayEvidence | PhaseOutcome | BatchRegistration,
    position: tuple[str, int, int] | None = None,
) -> BatchUpdate:
    """Return one update that says all of the items; `position` is (topic, partition, offset)."""
    places: tuple[RecordPosition, ...] = ()
    if position:
        topic, partition, offset = position
        places = (RecordPosition(topic=topic, partition=partition, offset=offset),)
    return BatchUpdate(
        batch_id=BatchId(batch),
        evidence=tuple(item for item in items if isinstance(item, EssayEvidence)),
        outcomes=tuple(item for item in items if isinstance(item, PhaseOutcome)),
        registrations=tuple(item for item in items if isinstance(item, BatchRegistration)),
        positions=places,
    )


# Events.


def envelope(
    event: EventName,
    data: Mapping[str, Any],
    *,
    at: datetime = NOON,
    source: str = "test_service",
    **changes: object,
) -> dict[str, Any]:
    """Return the envelope as a sender makes it; `changes` replace or add fields."""
    return {
        "event_id": str(uuid4()),
        "event_type": event.value,
        "event_timestamp": at.isoformat(),
        "source_service": source,
        "schema_version": 1,
        "correlation_id": str(uuid5(NAMESPACE_URL, json.dumps(data, sort_keys=True))),
        "data_schema_uri": None,
        "data": dict(data),
        "metadata": None,
    } | changes


def recorded(
    event: EventName, key: str, data: Mapping[str, Any], at: datetime = NOON
) -> RecordedEvent:
    """Return the event as Kafka carries it."""
    value = json.dumps(envelope(event, data, at=at)).encode()
    return RecordedEvent(topic_name(event), key.encode(), value)


def registered(
    batch: str, count: int, at: datetime = NOON, *, essays: Sequence[str] | None = None
) -> RecordedEvent:
    """Return the `BatchEssaysRegistered` of a batch of `essay-1` to `essay-<count>`."""
    data = {
        "event": "batch.essays.registered",
        "entity_id": batch,
        "expected_essay_count": count,
        "essay_ids": list(essay_names(count) if essays is None else essays),
        "metadata": {"entity_id": batch, "entity_type": "batch", "timestamp": at.isoformat()},
        "course_code": "ENG5",
        "essay_instructions": "Write.",
        "user_id": "user-1",
    }
    return recorded(EventName.BATCH_ESSAYS_REGISTERED, batch, data, at)


def spellchecked(
    batch: str,
    essay: str,
    status: str = "completed",
    at: datetime = NOON,
    *,
    sent_at: datetime | None = None,
) -> RecordedEvent:
    """Return the `SpellcheckPhaseCompletedV1` of one essay; `sent_at` differs for a copy."""
    is_completed = status == "completed"
    data = {
        "entity_id": essay,
        "batch_id": batch,
        "correlation_id": f"correlation-{batch}",
        "status": status,
        "corrected_text_storage_id": f"corrected-{essay}" if is_completed else None,
        "error_code": None if is_completed else "SPELLCHECK_ERROR",
        "processing_duration_ms": 120,
        "timestamp": at.isoformat(),
    }
    return recorded(EventName.SPELLCHECK_PHASE_COMPLETED, essay, data, sent_at or at)


def assessed(
    batch: str,
    completed: Sequence[str],
    failed: Sequence[str] = (),
    at: datetime = NOON,
    *,
    status: str = "completed_successfully",
    total: int | None = None,
) -> RecordedEvent:
    """Return the `CJAssessmentCompletedV1` of a batch."""
    data = {
        "event_name": "cj_assessment.completed",
        "entity_id": batch,
        "entity_type": "batch",
        "parent_id": None,
        "timestamp": at.isoformat(),
        "status": status,
        "system_metadata": {"entity_id": batch, "entity_type": "batch"},
        "cj_assessment_job_id": "job-1",
        "processing_summary": {
            "total_essays": len(completed) + len(failed) if total is None else total,
            "successful": len(completed),
            "failed": len(failed),
            "successful_essay_ids": list(completed),
            "failed_essay_ids": list(failed),
            "processing_time_seconds": 3.5,
        },
    }
    return recorded(EventName.CJ_ASSESSMENT_COMPLETED, batch, data, at)


def phase_outcome(
    batch: str,
    processed: Sequence[str],
    failed: Sequence[str] = (),
    at: datetime = NOON,
    *,
    phase: str = "spellcheck",
    status: str | None = None,
) -> RecordedEvent:
    """Return the `ELSBatchPhaseOutcomeV1` of a phase; its status follows from who failed."""
    data = {
        "batch_id": batch,
        "phase_name": phase,
        "phase_status": status
        or ("completed_with_failures" if failed else "completed_successfully"),
        "processed_essays": [
            {"essay_id": essay, "text_storage_id": f"{phase}-{essay}"} for essay in processed
        ],
        "failed_essay_ids": list(failed),
        "correlation_id": f"correlation-{batch}-{phase}",
    }
    return recorded(EventName.ELS_BATCH_PHASE_OUTCOME, batch, data, at)
