"""When a step is complete. Pure; imports only the standard library.

Pruning an unfinished step is the one unforgivable answer, so each rule here asks for proof of
completeness and everything else runs.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from batch_conductor_service.models import (
    BatchCompletionSummary,
    OutcomeVerdict,
    StepCompletionSummary,
    StepName,
)


class Reason(StrEnum):
    """Why a step runs or is skipped; a closed set, part of the HTTP contract."""

    ALREADY_COMPLETED = "already_completed"
    NOT_STARTED = "not_started"
    INCOMPLETE = "incomplete"
    FAILED_ESSAYS = "failed_essays"
    OUTCOME_NOT_SUCCESSFUL = "outcome_not_successful"
    TOTAL_UNKNOWN = "total_unknown"
    PREREQUISITE_RUNS = "prerequisite_runs"
    REQUESTED = "requested"
    STATE_UNKNOWN = "state_unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """What a judgement rests on, and the judgement: complete, or the reason why not."""

    reason: Reason
    completed: int = 0
    failed: int = 0
    total: int | None = None
    outcome: str | None = None
    completed_at: datetime | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the step is proven complete."""
        return self.reason is Reason.ALREADY_COMPLETED


def essays_total(summary: BatchCompletionSummary, requested_total: int | None) -> int | None:
    """Return the number of essays: registered, else the largest anyone said, else unknown."""
    if summary.registered_total is not None:
        return summary.registered_total
    return max(summary.reported_total or 0, requested_total or 0) or None


def judge_step(
    summary: BatchCompletionSummary, step: StepName, requested_total: int | None = None
) -> StepProgress:
    """Judge one step of a batch by what is known of it."""
    known = summary.steps.get(step, StepCompletionSummary())
    total = essays_total(summary, requested_total)
    reason = _reason(known, total) if summary.is_whole else Reason.STATE_UNKNOWN
    if reason is Reason.ALREADY_COMPLETED and _has_more_essays(summary, total):
        reason = Reason.INCOMPLETE
    return StepProgress(
        reason=reason,
        completed=known.completed,
        failed=known.failed,
        total=total,
        outcome=known.outcome.status if known.outcome else None,
        completed_at=_completed_at(known) if reason is Reason.ALREADY_COMPLETED else None,
    )


def _reason(known: StepCompletionSummary, total: int | None) -> Reason:
    if known == StepCompletionSummary():
        return Reason.NOT_STARTED
    if known.failed:
        return Reason.FAILED_ESSAYS
    if _is_refuted(known):
        return Reason.OUTCOME_NOT_SUCCESSFUL
    if total is not None:
        complete = 0 < total == known.completed
        return Reason.ALREADY_COMPLETED if complete else Reason.INCOMPLETE
    return Reason.ALREADY_COMPLETED if _is_confirmed(known) else Reason.TOTAL_UNKNOWN


def _has_more_essays(summary: BatchCompletionSummary, total: int | None) -> bool:
    """Whether essays are known that a number which was only said leaves out.

    Who sums up counts the essays that are done; one that is still at work is missing there.
    """
    is_registered = summary.registered_total is not None
    return not is_registered and total is not None and summary.essays_known > total


def _is_confirmed(known: StepCompletionSummary) -> bool:
    """Whether the phase ended with success and no essay has been heard of since."""
    if known.outcome is None or known.outcome.verdict is not OutcomeVerdict.CONFIRMS:
        return False
    return known.last_observed_at is None or known.last_observed_at <= known.outcome.occurred_at


def _is_refuted(known: StepCompletionSummary) -> bool:
    """Whether the phase ended without success and no essay has been heard of since."""
    if known.outcome is None or known.outcome.verdict is OutcomeVerdict.CONFIRMS:
        return False
    return known.last_observed_at is None or known.last_observed_at <= known.outcome.occurred_at


def _completed_at(known: StepCompletionSummary) -> datetime | None:
    times = [known.last_observed_at, known.outcome.occurred_at if known.outcome else None]
    return max((time for time in times if time is not None), default=None)
