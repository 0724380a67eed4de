"""What the events say about batches, in the terms of the domain. Pure.

Reports without an essay's own time are known by a fingerprint of their content: relays send again
with a new event id and a new time.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import orjson

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.events.decoding import DecodedEvent
from batch_conductor_service.events.models import (
    BatchEssaysRegistered,
    CJAssessmentCompletedV1,
    ELSBatchPhaseOutcomeV1,
    EssayStatus,
    SpellcheckPhaseCompletedV1,
)
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
    RecordPosition,
    StepEvidence,
    StepName,
)

SPELLCHECK = StepName("spellcheck")
CJ_ASSESSMENT = StepName("cj_assessment")
PHASE_SUCCEEDED = "completed_successfully"
PARTLY_FAILED = "completed_with_failures"

MAX_CLOCK_SKEW = timedelta(days=1)  # between any two of sender, broker and this service
_FAILURES = frozenset({OutcomeVerdict.PARTIAL, OutcomeVerdict.REFUTES})
ASSESSMENT_SUCCEEDED = frozenset({"completed_successfully", "completed", "success"})

_Essays = dict[str, tuple[ProcessingStepStatus, str | None]]  # status and storage id

_STATUSES: Mapping[EssayStatus, ProcessingStepStatus] = {
    EssayStatus.PENDING: ProcessingStepStatus.PENDING,
    EssayStatus.IN_PROGRESS: ProcessingStepStatus.PENDING,
    EssayStatus.COMPLETED: ProcessingStepStatus.COMPLETED,
    EssayStatus.FAILED: ProcessingStepStatus.FAILED,
}


def to_update(event: DecodedEvent, position: RecordPosition) -> BatchUpdate:
    """Return what the event says about its batch."""
    match event.data:
        case SpellcheckPhaseCompletedV1() as data:
            update = _from_spellcheck(data)
        case CJAssessmentCompletedV1() as data:
            update = _from_assessment(data)
        case ELSBatchPhaseOutcomeV1() as data:
            run = data.correlation_id or event.correlation_id
            update = _from_phase_outcome(data, event.sent_at, run)
        case data:  # only a registration is left, or the type checker says so
            update = _from_registration(data, event.sent_at)
    return replace(update, positions=(position,))


def bound_in_time(update: BatchUpdate, recorded_at: datetime, now: datetime) -> BatchUpdate:
    """Return the update without what only a clock more than a day ahead can have said.

    A success from the future would outrank every failure until then: it is not believed, and the
    phase runs again. A failure stands in any case, for as long as a clock may be off. Of the two
    times that bound, the record's is the sender's own unless the broker sets it, and ours may be
    wrong as well, so each is used where it leads to running. Of a registration only the record's is
    heard: placed too early it would give way to one of fewer essays.
    """
    since, latest_failure = min(recorded_at, now), max(recorded_at, now) + MAX_CLOCK_SKEW

    def is_believed(occurred_at: datetime) -> bool:
        return occurred_at <= since + MAX_CLOCK_SKEW

    def bound_evidence(said: StepEvidence) -> StepEvidence:
        if said.status is not ProcessingStepStatus.COMPLETED:
            return replace(said, occurred_at=min(said.occurred_at, latest_failure))
        if is_believed(said.occurred_at):
            return said
        return StepEvidence(status=ProcessingStepStatus.PENDING, occurred_at=since)

    def bound_outcome(told: PhaseOutcome) -> PhaseOutcome:
        if told.verdict in _FAILURES:
            return replace(told, occurred_at=min(told.occurred_at, latest_failure))
        if is_believed(told.occurred_at):
            return told
        is_success = told.verdict is OutcomeVerdict.CONFIRMS
        verdict = OutcomeVerdict.PARTIAL if is_success else told.verdict
        return replace(told, occurred_at=since, verdict=verdict)

    return replace(
        update,
        evidence=tuple(replace(e, evidence=bound_evidence(e.evidence)) for e in update.evidence),
        outcomes=tuple(map(bound_outcome, update.outcomes)),
        registrations=tuple(
            replace(one, occurred_at=recorded_at)
            if one.occurred_at > recorded_at + MAX_CLOCK_SKEW
            else one
            for one in update.registrations
        ),
    )


def group_by_batch(updates: Iterable[BatchUpdate]) -> list[BatchUpdate]:
    """Return one merged update for each batch, in the order of first appearance.

    A statement that another of the same batch outdoes is gone; every position is kept.
    """
    states: dict[BatchId, BatchState] = {}
    positions: dict[BatchId, list[RecordPosition]] = {}
    for update in updates:
        states.setdefault(update.batch_id, BatchState(update.batch_id)).merge(update)
        positions.setdefault(update.batch_id, []).extend(update.positions)
    return [
        replace(state.as_update(), positions=tuple(positions[batch_id]))
        for batch_id, state in states.items()
    ]


def _from_spellcheck(data: SpellcheckPhaseCompletedV1) -> BatchUpdate:
    status = _STATUSES[data.status]
    is_completed = status is ProcessingStepStatus.COMPLETED
    stated = StepEvidence(
        status=status,
        occurred_at=data.timestamp,
        storage_id=data.corrected_text_storage_id if is_completed else None,
    )
    evidence = EssayEvidence(essay_id=EssayId(data.essay_id), step=SPELLCHECK, evidence=stated)
    return BatchUpdate(batch_id=BatchId(data.batch_id), evidence=(evidence,))


def _from_assessment(data: CJAssessmentCompletedV1) -> BatchUpdate:
    summary = data.processing_summary
    essays = _by_essay(dict.fromkeys(summary.successful_essay_ids), summary.failed_essay_ids)
    status = data.status.lower()
    counts = (summary.total_essays, summary.successful, summary.failed)
    outcome = PhaseOutcome(
        step=CJ_ASSESSMENT,
        fingerprint=_fingerprint(
            data.batch_id, data.timestamp, data.status, counts, sorted(essays.items())
        ),
        occurred_at=data.timestamp,
        status=data.status,
        verdict=OutcomeVerdict.REPORTS
        if status in ASSESSMENT_SUCCEEDED
        else _verdict_on_failure(status, summary.failed_essay_ids),
        reported_total=max(summary.total_essays, summary.successful + summary.failed, len(essays)),
    )
    return BatchUpdate(
        batch_id=BatchId(data.batch_id),
        evidence=_evidence(CJ_ASSESSMENT, essays, data.timestamp, OBSERVED),
        outcomes=(outcome,),
    )


def _from_phase_outcome(
    data: ELSBatchPhaseOutcomeV1, sent_at: datetime, correlation_id: str
) -> BatchUpdate:
    step = StepName(data.phase_name)
    processed = {essay.essay_id: essay.text_storage_id for essay in data.processed_essays}
    essays = _by_essay(processed, data.failed_essay_ids)
    content = (data.batch_id, step, data.phase_status, correlation_id)
    fingerprint = _fingerprint(content, sorted(essays.items()))
    succeeded = data.phase_status == PHASE_SUCCEEDED and not data.failed_essay_ids
    outcome = PhaseOutcome(
        step=step,
        fingerprint=fingerprint,
        occurred_at=sent_at,
        status=data.phase_status,
        verdict=OutcomeVerdict.CONFIRMS
        if succeeded
        else _verdict_on_failure(data.phase_status, data.failed_essay_ids),
        reported_total=len(essays),
    )
    return BatchUpdate(
        batch_id=BatchId(data.batch_id),
        evidence=_evidence(step, essays, sent_at, fingerprint),
        outcomes=(outcome,),
    )


def _verdict_on_failure(status: str, failed: Sequence[str]) -> OutcomeVerdict:
    """Without the names of those that failed, any of them may have."""
    return OutcomeVerdict.PARTIAL if status == PARTLY_FAILED and failed else OutcomeVerdict.REFUTES


def _from_registration(data: BatchEssaysRegistered, sent_at: datetime) -> BatchUpdate:
    named = sorted(set(data.essay_ids))
    is_complete = len(named) == data.expected_essay_count
    metadata = data.metadata
    stated_at = metadata.timestamp if metadata else None
    correlation_id = metadata.correlation_id if metadata else None
    registration = BatchRegistration(
        fingerprint=_fingerprint(
            data.batch_id, data.expected_essay_count, named, stated_at, correlation_id
        ),
        occurred_at=stated_at or sent_at,
        essays_total=data.expected_essay_count,
        essay_ids=tuple(map(EssayId, named)) if is_complete else (),
    )
    return BatchUpdate(batch_id=BatchId(data.batch_id), registrations=(registration,))


def _by_essay(processed: Mapping[str, str | None], failed: Iterable[str]) -> _Essays:
    """Return status and storage id of each essay; one in both is failed."""
    essays: _Essays = {
        essay: (ProcessingStepStatus.COMPLETED, storage) for essay, storage in processed.items()
    }
    return essays | dict.fromkeys(failed, (ProcessingStepStatus.FAILED, None))


def _evidence(
    step: StepName, essays: _Essays, occurred_at: datetime, source: str
) -> tuple[EssayEvidence, ...]:
    return tuple(
        EssayEvidence(
            essay_id=EssayId(essay),
            step=step,
            source=source,
            evidence=StepEvidence(status=status, occurred_at=occurred_at, storage_id=storage_id),
        )
        for essay, (status, storage_id) in essays.items()
    )


def _fingerprint(*content: object) -> str:
    return hashlib.sha256(orjson.dumps(content)).hexdigest()[:16]
