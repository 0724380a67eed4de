"""When a statement counts as made: what its sender says, held against the record's time and ours.

A sender's clock may be off by any amount. A success from the future would outrank every failure
until then, and a failure from the past would be outranked by what it takes away. So a success from
later than can be is not believed, and everything else stands, at a time near that of its record.
Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from batch_conductor_service.domain.merging import SETBACKS
from batch_conductor_service.models import (
    OBSERVED,
    BatchRegistration,
    BatchUpdate,
    EssayEvidence,
    OutcomeVerdict,
    PhaseOutcome,
    ProcessingStepStatus,
    StepEvidence,
)

NOT_BELIEVED = "?"  # ends the source of a report whose success is not believed


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeBounds:
    """What bounds the times of one record's statements.

    Attributes:
        latest_success: a success from later than this is not believed.
        recorded_at: the record's own time.
        earliest, latest: the range in which everything that is no success stands.
        latest_by_record: the end of that range if only the record's time is heard.
    """

    latest_success: datetime
    recorded_at: datetime
    earliest: datetime
    latest: datetime
    latest_by_record: datetime

    def clamp(self, time: datetime) -> datetime:
        """Return the time within the range of what is no success."""
        return min(max(time, self.earliest), self.latest)


def bounds_of(recorded_at: datetime, now: datetime, tolerance: timedelta) -> TimeBounds:
    """Return the bounds of a record.

    The record's time is the sender's own unless the broker sets it, and ours may be wrong as well,
    so each is used where it leads to running.
    """
    return TimeBounds(
        latest_success=min(recorded_at, now) + tolerance,
        recorded_at=recorded_at,
        earliest=recorded_at - tolerance,
        latest=max(recorded_at, now) + tolerance,
        latest_by_record=recorded_at + tolerance,
    )


def bound_in_time(update: BatchUpdate, bounds: TimeBounds) -> BatchUpdate:
    """Return the update with every time within its bounds."""
    return replace(
        update,
        evidence=tuple(_bound_evidence(update.evidence, bounds)),
        outcomes=tuple(_bound_outcome(one, bounds) for one in update.outcomes),
        registrations=tuple(_bound_registration(one, bounds) for one in update.registrations),
    )


def _bound_evidence(
    evidence: Iterable[EssayEvidence], bounds: TimeBounds
) -> Iterable[EssayEvidence]:
    for item in evidence:
        said = item.evidence
        if said.status is not ProcessingStepStatus.COMPLETED:
            yield replace(item, evidence=replace(said, occurred_at=bounds.clamp(said.occurred_at)))
        elif said.occurred_at <= bounds.latest_success:
            yield item
        else:
            pending = StepEvidence(
                status=ProcessingStepStatus.PENDING, occurred_at=bounds.recorded_at
            )
            yield replace(item, evidence=pending, source=_not_believed(item.source))


def _bound_outcome(outcome: PhaseOutcome, bounds: TimeBounds) -> PhaseOutcome:
    if outcome.verdict in SETBACKS:
        return replace(outcome, occurred_at=bounds.clamp(outcome.occurred_at))
    if outcome.occurred_at <= bounds.latest_success:
        return outcome
    is_success = outcome.verdict is OutcomeVerdict.CONFIRMS
    return replace(
        outcome,
        fingerprint=_not_believed(outcome.fingerprint),
        occurred_at=bounds.recorded_at,
        verdict=OutcomeVerdict.PARTIAL if is_success else outcome.verdict,
    )


def _bound_registration(one: BatchRegistration, bounds: TimeBounds) -> BatchRegistration:
    """Bound it from both sides: too late it would hide a later one, too early a larger one."""
    occurred_at = bounds.clamp(one.occurred_at)
    return replace(
        one,
        occurred_at=min(occurred_at, bounds.latest_by_record),
        repeated_at=bounds.clamp(one.repeated_at),
    )


def _not_believed(source: str) -> str:
    """Return another source than that of a believed copy: each source says one status only."""
    return source if source == OBSERVED else source + NOT_BELIEVED
