"""What cannot be read, or not be kept, as statements: it may have been a failure. Pure."""

from datetime import datetime

from batch_conductor_service.models import (
    OWN_PREFIX,
    UNREADABLE,
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


def unreadable_essay(essay_id: EssayId, step: StepName, at: datetime) -> EssayEvidence:
    """Return that something about one essay in one step could not be read."""
    said = StepEvidence(status=ProcessingStepStatus.PENDING, occurred_at=at)
    return EssayEvidence(essay_id=essay_id, step=step, source=UNREADABLE, evidence=said)


def unreadable_outcome(step: StepName, at: datetime, *, is_own: bool) -> PhaseOutcome:
    """Return that something about all of a step could not be read.

    `is_own` says that the service that runs the step has sent it.
    """
    return PhaseOutcome(
        step=step,
        fingerprint=OWN_PREFIX + UNREADABLE if is_own else UNREADABLE,
        occurred_at=at,
        status=UNREADABLE,
        verdict=OutcomeVerdict.REFUTES,
        reported_total=0,
    )


def unreadable_registration(at: datetime) -> BatchRegistration:
    """Return that a registration could not be read."""
    return BatchRegistration(fingerprint=UNREADABLE, occurred_at=at, repeated_at=at, essays_total=0)


def as_unreadable(update: BatchUpdate) -> BatchUpdate:
    """Return what is left to say of an update that cannot be kept as it is."""
    return BatchUpdate(
        batch_id=update.batch_id,
        evidence=tuple(
            unreadable_essay(one.essay_id, one.step, one.evidence.occurred_at)
            for one in update.evidence
        ),
        outcomes=tuple(
            unreadable_outcome(one.step, one.occurred_at, is_own=one.is_own)
            for one in update.outcomes
        ),
        registrations=tuple(
            unreadable_registration(one.repeated_at) for one in update.registrations
        ),
    )
