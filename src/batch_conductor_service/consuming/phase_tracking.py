"""What the events say about batches, in the terms of the domain. Pure.

Reports without an essay's own time are known by a fingerprint of their content: relays send again
with a new event id and a new time.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

import orjson

from batch_conductor_service.domain.batch_state import merge_updates
from batch_conductor_service.domain.statements import (
    unreadable_essay,
    unreadable_outcome,
    unreadable_registration,
)
from batch_conductor_service.events.consumed import DecodedEvent, RecordSubject
from batch_conductor_service.models import (
    OWN_PREFIX,
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
from common_core.events import (
    BatchEssaysRegistered,
    CJAssessmentCompletedV1,
    ELSBatchPhaseOutcomeV1,
    SpellcheckPhaseCompletedV1,
)
from common_core.records import RecordPosition
from common_core.topics import EventName

SPELLCHECK = StepName("spellcheck")
CJ_ASSESSMENT = StepName("cj_assessment")
PHASE_SUCCEEDED = "completed_successfully"
PARTLY_FAILED = "completed_with_failures"

_Essays = dict[str, tuple[ProcessingStepStatus, str | None]]  # status and storage id

_STATUSES: Mapping[str, ProcessingStepStatus] = {
    "completed": ProcessingStepStatus.COMPLETED,
    "failed": ProcessingStepStatus.FAILED,
}  # whatever else a sender says, now or in a later version, it is not done


def to_update(event: DecodedEvent, position: RecordPosition) -> BatchUpdate:
    """Return what the event says about its batch."""
    match event.data:
        case SpellcheckPhaseCompletedV1() as data:
            return _from_spellcheck(data, position)
        case CJAssessmentCompletedV1() as data:
            update = _from_assessment(data, event.correlation_id)
        case ELSBatchPhaseOutcomeV1() as data:
            update = _from_phase_outcome(data, event.sent_at, event.correlation_id)
        case data:  # only a registration is left, or the type checker says so
            update = _from_registration(data, event.sent_at, event.correlation_id)
    return replace(update, positions=(position,))


def to_unreadable_update(
    subject: RecordSubject,
    recorded_at: datetime,
    steps: Iterable[StepName],
    position: RecordPosition,
) -> BatchUpdate:
    """Return what a record that could not be read takes away, from its time on.

    That is the essay's step, else the step, else each of `steps`; a registration says of none that
    its essays are all there are.
    """
    said = BatchUpdate(batch_id=BatchId(subject.batch_id), positions=(position,))
    if subject.event is EventName.BATCH_ESSAYS_REGISTERED:
        return replace(said, registrations=(unreadable_registration(recorded_at),))
    if subject.essay_id is not None:
        essay_id = EssayId(subject.essay_id)
        return replace(said, evidence=(unreadable_essay(essay_id, SPELLCHECK, recorded_at),))
    is_own = subject.event is not EventName.ELS_BATCH_PHASE_OUTCOME
    about = _steps_of(subject) or steps
    outcomes = tuple(unreadable_outcome(step, recorded_at, is_own=is_own) for step in about)
    return replace(said, outcomes=outcomes)


def group_by_batch(updates: Iterable[BatchUpdate]) -> Iterator[BatchUpdate]:
    """Yield one merged update for each batch, in the order of first appearance.

    A statement that another of the same batch outdoes is gone; every position is kept.
    """
    groups: dict[BatchId, list[BatchUpdate]] = {}
    for update in updates:
        groups.setdefault(update.batch_id, []).append(update)
    return map(merge_updates, groups.values())


def _steps_of(subject: RecordSubject) -> tuple[StepName, ...]:
    """Return the step that a record is about, or nothing where that cannot be seen."""
    known = {
        EventName.SPELLCHECK_PHASE_COMPLETED: SPELLCHECK,
        EventName.CJ_ASSESSMENT_COMPLETED: CJ_ASSESSMENT,
    }
    step = subject.phase_name or known.get(subject.event)
    return (StepName(step),) if step else ()


def _from_spellcheck(data: SpellcheckPhaseCompletedV1, position: RecordPosition) -> BatchUpdate:
    status = _STATUSES.get(data.status, ProcessingStepStatus.PENDING)
    is_completed = status is ProcessingStepStatus.COMPLETED
    stated = StepEvidence(
        status=status,
        occurred_at=data.timestamp,
        storage_id=data.corrected_text_storage_id if is_completed else None,
    )
    evidence = EssayEvidence(essay_id=EssayId(data.essay_id), step=SPELLCHECK, evidence=stated)
    return BatchUpdate(batch_id=BatchId(data.batch_id), evidence=(evidence,), positions=(position,))


def _from_assessment(data: CJAssessmentCompletedV1, correlation_id: str) -> BatchUpdate:
    summary = data.processing_summary
    named = (len(set(summary.successful_essay_ids)), len(set(summary.failed_essay_ids)))
    listed = len(summary.successful_essay_ids) + len(summary.failed_essay_ids)
    counts = (summary.total_essays, summary.successful, summary.failed)
    outcome = PhaseOutcome(
        step=CJ_ASSESSMENT,
        fingerprint=OWN_PREFIX,
        occurred_at=data.timestamp,
        status=data.status,
        verdict=_verdict(
            data.status, *named, agrees=counts == (listed, *named) == (sum(named), *named)
        ),
        reported_total=max(summary.total_essays, summary.successful + summary.failed, listed),
    )
    essays = _by_essay(dict.fromkeys(summary.successful_essay_ids), summary.failed_essay_ids)
    content = (CJ_ASSESSMENT, data.timestamp, data.status, counts, correlation_id)
    return _from_outcome(data.batch_id, outcome, content, essays)


def _from_phase_outcome(
    data: ELSBatchPhaseOutcomeV1, sent_at: datetime, correlation_id: str
) -> BatchUpdate:
    step = StepName(data.phase_name)
    listed = (len(data.processed_essays), len(data.failed_essay_ids))
    outcome = PhaseOutcome(
        step=step,
        fingerprint="",
        occurred_at=sent_at,
        status=data.phase_status,
        verdict=_verdict(data.phase_status, *listed),
        reported_total=sum(listed),
    )
    processed = {essay.essay_id: essay.text_storage_id for essay in data.processed_essays}
    content = (step, data.phase_status, data.correlation_id, correlation_id)
    essays = _by_essay(processed, data.failed_essay_ids)
    return _from_outcome(data.batch_id, outcome, content, essays)


def _verdict(status: str, processed: int, failed: int, *, agrees: bool = True) -> OutcomeVerdict:
    """Return what an outcome proves. The success of nothing proves nothing.

    Without the names of those that failed, any of them may have; and what contradicts itself is no
    success.
    """
    if status == PARTLY_FAILED and failed:
        return OutcomeVerdict.PARTIAL
    if status != PHASE_SUCCEEDED or failed or not agrees:
        return OutcomeVerdict.REFUTES
    return OutcomeVerdict.CONFIRMS if processed else OutcomeVerdict.REPORTS


def _from_outcome(
    batch_id: str, outcome: PhaseOutcome, content: tuple[object, ...], essays: _Essays
) -> BatchUpdate:
    """Return the outcome, and what it says of each essay, known by a fingerprint of its content."""
    fingerprint = outcome.fingerprint + _fingerprint(batch_id, content, sorted(essays.items()))
    return BatchUpdate(
        batch_id=BatchId(batch_id),
        evidence=_evidence(outcome.step, essays, outcome.occurred_at, fingerprint),
        outcomes=(replace(outcome, fingerprint=fingerprint),),
    )


def _from_registration(
    data: BatchEssaysRegistered, sent_at: datetime, correlation_id: str
) -> BatchUpdate:
    named = sorted(set(data.essay_ids))
    metadata = data.metadata
    stated_at = metadata.timestamp if metadata else None
    content = (
        *(data.batch_id, data.expected_essay_count, named, stated_at),
        *(metadata.correlation_id if metadata else None, correlation_id),
    )
    occurred_at = stated_at or sent_at
    registration = BatchRegistration(
        fingerprint=_fingerprint(*content),
        occurred_at=occurred_at,
        repeated_at=occurred_at,
        essays_total=max(data.expected_essay_count, len(named)),
        essay_ids=tuple(map(EssayId, named)),
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
