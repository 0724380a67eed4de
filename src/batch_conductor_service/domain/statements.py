"""Statements about a batch: when each counts as made, and how those about the same thing merge.

Merging is commutative, associative and idempotent, so replays, duplicates, reorderings and
hydrations all end in the same state; the Postgres upserts state the same rules once more.

A sender's clock may be off by any amount. A success from the future would outrank every failure
until then, and a failure from the past would be outranked by what it takes away. So a success from
later than can be is not believed, and everything else stands, at a time near that of its record.

What cannot be read may have been a failure, and is a statement, too. Pure; imports only the
standard library.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce
from typing import NamedTuple

from batch_conductor_service.models import (
    OBSERVED,
    OWN_PREFIX,
    UNREADABLE,
    WHOLE_BATCH_STEPS,
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

Sources = Mapping[str, StepEvidence]  # what each source says of one essay in one step

# On equal times the larger rank wins: where it is unsure, the phase runs again.
STATUS_RANK: Mapping[ProcessingStepStatus, int] = {
    ProcessingStepStatus.COMPLETED: 0,
    ProcessingStepStatus.PENDING: 1,
    ProcessingStepStatus.FAILED: 2,
}

# Verdicts that take completeness away. Whoever sends such an outcome again says it again.
SETBACKS = frozenset({OutcomeVerdict.PARTIAL, OutcomeVerdict.REFUTES})
NOT_BELIEVED = "?"  # ends the source of a report whose success is not believed


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


def own_word(step: StepName, sources: Sources) -> StepEvidence | None:
    """Return what the essay's own event says; steps over a whole batch have no such event."""
    return None if step in WHOLE_BATCH_STEPS else sources.get(OBSERVED)


def is_part_of(sources: Sources, completion: PhaseOutcome, lost_at: datetime | None) -> bool:
    """Whether the essay is in the completion, and nothing has taken that away.

    Versions before this one kept a completion of a whole batch as own events of its time.
    """
    if completion.verdict is OutcomeVerdict.PARTIAL:
        return False
    said = sources.get(completion.fingerprint)
    before = sources.get(OBSERVED)
    if said is None and before is not None and before.occurred_at == completion.occurred_at:
        said = before
    if said is None or said.status is not ProcessingStepStatus.COMPLETED:
        return False
    setbacks = (e.occurred_at for e in sources.values() if e.status is not said.status)
    since = latest(lost_at, max(setbacks, default=None))
    return since is None or completion.occurred_at > since


def latest(*times: datetime | None) -> datetime | None:
    """Return the latest of the times that there are."""
    return reduce(later, times)


def later(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the later of two times, of which there may be none."""
    if one is None or (other is not None and other > one):
        return other
    return one


class TimeBounds(NamedTuple):
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
    """Return the update with every time within its bounds; itself, where nothing is to be done."""
    if _is_plain(update, bounds.latest_success):
        return update
    return replace(
        update,
        evidence=tuple(_bound_evidence(update.evidence, bounds)),
        outcomes=tuple(_bound_outcome(one, bounds) for one in update.outcomes),
        registrations=tuple(_bound_registration(one, bounds) for one in update.registrations),
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


def _is_plain(update: BatchUpdate, latest_success: datetime) -> bool:
    """Whether it says nothing but that essays completed, in time, as nearly all events do."""
    return not (update.outcomes or update.registrations) and all(
        one.evidence.status is ProcessingStepStatus.COMPLETED
        and one.evidence.occurred_at <= latest_success
        for one in update.evidence
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
