"""How statements about the same thing merge: commutative, associative and idempotent.

Replays, duplicates, reorderings and hydrations therefore all end in the same state. Pure; imports
only the standard library. The Postgres upserts state the same rules once more.
"""

from collections.abc import Mapping
from dataclasses import replace

from batch_conductor_service.models import (
    OBSERVED,
    BatchRegistration,
    OutcomeVerdict,
    PhaseOutcome,
    ProcessingStepStatus,
    StepEvidence,
)

# On equal times the larger rank wins: where it is unsure, the phase runs again.
STATUS_RANK: Mapping[ProcessingStepStatus, int] = {
    ProcessingStepStatus.COMPLETED: 0,
    ProcessingStepStatus.PENDING: 1,
    ProcessingStepStatus.FAILED: 2,
}

# Verdicts that take completeness away. Whoever sends such an outcome again says it again.
SETBACKS = frozenset({OutcomeVerdict.PARTIAL, OutcomeVerdict.REFUTES})


def merge_evidence(source: str, known: StepEvidence | None, new: StepEvidence) -> StepEvidence:
    """Return what a source says, given what it was known to say.

    An essay's own later event replaces the earlier. Of copies of one report the earliest counts if
    it is a success, for a copy is no newer completion, and the latest if it is not.
    """
    if known is None:
        return new
    is_latest_wanted = source == OBSERVED or new.status is not ProcessingStepStatus.COMPLETED
    return max(known, new, key=order) if is_latest_wanted else min(known, new, key=order)


def merge_outcome(known: PhaseOutcome | None, new: PhaseOutcome) -> PhaseOutcome:
    """Return the copy of an outcome that counts: the latest of a setback, else the earliest."""
    if known is None:
        return new
    choose = max if new.verdict in SETBACKS else min
    return choose(known, new, key=lambda copy: copy.occurred_at)


def merge_registration(
    known: BatchRegistration | None, new: BatchRegistration
) -> BatchRegistration:
    """Return a registration with the times of its earliest and its latest copy."""
    if known is None:
        return new
    return replace(
        known,
        occurred_at=min(known.occurred_at, new.occurred_at),
        repeated_at=max(known.repeated_at, new.repeated_at),
    )


def order(evidence: StepEvidence) -> tuple[object, ...]:
    """Return what statements of one source are ordered by: time, status, storage id."""
    return evidence.occurred_at, STATUS_RANK[evidence.status], evidence.storage_id or ""
