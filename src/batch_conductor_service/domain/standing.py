"""What holds for one essay in one step, given all statements about it. Pure.

The essay's own event is its word: where there is one, no outcome completes the essay. A completion
stands until something later takes it away.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from batch_conductor_service.domain.merging import order
from batch_conductor_service.models import (
    OBSERVED,
    UNREADABLE,
    WHOLE_BATCH_STEPS,
    OutcomeVerdict,
    PhaseOutcome,
    ProcessingStepStatus,
    StepEvidence,
    StepName,
)

Sources = Mapping[str, StepEvidence]  # what each source says of one essay in one step


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The status that holds.

    Attributes:
        completed_at: when it completed, if it is completed. Where there is an own event, its time:
            an outcome that reports an earlier completion does not move it.
        is_unreadable: whether a record that could not be read keeps it from being completed.
    """

    status: ProcessingStepStatus
    completed_at: datetime | None = None
    storage_id: str | None = None
    is_unreadable: bool = False


def judge_essay(
    step: StepName, sources: Sources, lost_at: datetime | None = None, *, needs_own: bool = False
) -> Standing:
    """Return what holds; what completed no later than `lost_at` has to complete again.

    An own event that could not be read may have been a failure. So then, and where `needs_own` says
    that this may be so, nothing but an own event completes the essay.
    """
    own = own_word(step, sources)
    setback = _latest_setback(step, sources)
    if own is not None and own.status is not ProcessingStepStatus.COMPLETED:
        holds = own if setback is None or own.occurred_at > setback.occurred_at else setback
        return _not_completed(holds, sources)
    reported = [e for e in sources.values() if e.status is ProcessingStepStatus.COMPLETED]
    completions = [own] if own else [] if needs_own or UNREADABLE in sources else reported
    since = latest(lost_at, setback.occurred_at if setback else None)
    standing = [e for e in completions if since is None or e.occurred_at > since]
    if standing:
        return _completed(max(standing, key=order), reported)
    if setback is not None and not any(e.occurred_at > setback.occurred_at for e in completions):
        return _not_completed(setback, sources)
    return Standing(status=ProcessingStepStatus.PENDING)


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
    return max((time for time in times if time is not None), default=None)


def _latest_setback(step: StepName, sources: Sources) -> StepEvidence | None:
    """Return what took the essay away last; of two alike, the record that could not be read."""
    own = own_word(step, sources)
    reported = [
        (source == UNREADABLE, evidence)
        for source, evidence in sources.items()
        if evidence is not own and evidence.status is not ProcessingStepStatus.COMPLETED
    ]
    last = max(reported, key=lambda said: (order(said[1]), said[0]), default=None)
    return last[1] if last else None


def _completed(holds: StepEvidence, completions: list[StepEvidence]) -> Standing:
    named = [known for known in completions if known.storage_id is not None]
    return Standing(
        status=ProcessingStepStatus.COMPLETED,
        completed_at=holds.occurred_at,
        storage_id=holds.storage_id or max(named, key=order, default=holds).storage_id,
    )


def _not_completed(holds: StepEvidence, sources: Sources) -> Standing:
    return Standing(status=holds.status, is_unreadable=holds is sources.get(UNREADABLE))
