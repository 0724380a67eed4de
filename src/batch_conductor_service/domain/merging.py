"""How statements about the same thing merge: commutative, associative and idempotent.

Replays, duplicates, reorderings and hydrations therefore all end in the same state. Pure; imports
only the standard library. The Postgres upsert and the Lua script state the same rules.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from batch_conductor_service.models import (
    OBSERVED,
    BatchRegistration,
    EssayStep,
    PhaseOutcome,
    ProcessingStepStatus,
    StepEvidence,
)

# On equal times the larger rank wins: every doubt is resolved toward running the phase again.
STATUS_RANK: Mapping[ProcessingStepStatus, int] = {
    ProcessingStepStatus.COMPLETED: 0,
    ProcessingStepStatus.PENDING: 1,
    ProcessingStepStatus.FAILED: 2,
}

Timed = TypeVar("Timed", StepEvidence, PhaseOutcome, BatchRegistration)


def later(one: StepEvidence, other: StepEvidence) -> StepEvidence:
    """Return the statement that wins by time, on a tie by status, then by storage id."""
    return max(one, other, key=_order)


def earlier(one: Timed, other: Timed) -> Timed:
    """Return the earlier of two copies of one report: a copy sent again is no newer evidence."""
    return min(one, other, key=lambda copy: copy.occurred_at)


def merge_evidence(source: str, known: StepEvidence | None, new: StepEvidence) -> StepEvidence:
    """Return what a source says, given what it was known to say."""
    if known is None:
        return new
    return later(known, new) if source == OBSERVED else earlier(known, new)


def effective(step: EssayStep) -> StepEvidence:
    """Return the one statement that holds for an essay in a step.

    The essay's own event holds. A report about it counts where there is no own event, and where it
    takes completion away and is not older: a report never turns an essay's own failure into a
    success.
    """
    observed = step.sources.get(OBSERVED)
    reports = [evidence for source, evidence in step.sources.items() if source != OBSERVED]
    report = max(reports, key=_order, default=None)
    if observed is None or report is None:
        return observed or _present(report)
    takes_away = report.status is not ProcessingStepStatus.COMPLETED
    return report if takes_away and report.occurred_at >= observed.occurred_at else observed


def standing_status(step: EssayStep, refuted_at: datetime | None) -> ProcessingStepStatus:
    """Return the status that counts: what completed before a refutation has to complete again."""
    status = effective(step).status
    if status is not ProcessingStepStatus.COMPLETED or refuted_at is None:
        return status
    stands = any(
        evidence.status is status and evidence.occurred_at > refuted_at
        for evidence in step.sources.values()
    )
    return status if stands else ProcessingStepStatus.PENDING


def storage_id_of(step: EssayStep) -> str | None:
    """Return where the essay's output of the step is stored, if it is completed and known."""
    evidence = effective(step)
    if evidence.status is not ProcessingStepStatus.COMPLETED:
        return None
    named = [known for known in step.sources.values() if known.storage_id is not None]
    return evidence.storage_id or max(named, key=_order, default=evidence).storage_id


def _order(evidence: StepEvidence) -> tuple[object, ...]:
    return evidence.occurred_at, STATUS_RANK[evidence.status], evidence.storage_id or ""


def _present(evidence: StepEvidence | None) -> StepEvidence:
    if evidence is None:
        raise ValueError("an essay step without evidence has no status")
    return evidence
