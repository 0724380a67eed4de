"""What holds for one essay in one step, and what all essays of a batch add to its summary.

The essay's own event is its word: where there is one, no outcome completes the essay. A completion
stands until something later takes it away.

A batch is counted by adding up its essays; after essays' own events, the difference that these
essays make is enough. Both use the same functions, so they cannot disagree. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import NamedTuple

from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.domain.statements import (
    Sources,
    is_part_of,
    later,
    latest,
    order,
    own_word,
)
from batch_conductor_service.models import (
    UNREADABLE,
    WHOLE_BATCH_STEPS,
    BatchCompletionSummary,
    EssayStep,
    PhaseOutcome,
    ProcessingStepStatus,
    StepCompletionSummary,
    StepEvidence,
    StepName,
)

EssaySteps = Mapping[StepName, EssayStep]
Tallies = Mapping[StepName, "Tally"]

_NOTHING = StepCompletionSummary()


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
    if len(sources) == 1:  # as of nearly all essays
        return _judge_only(sources, lost_at, needs_own=needs_own and own is None)
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


@dataclass(slots=True)
class Tally:
    """What essays add to the summary of one step: sums, and times of which the latest counts.

    The fields are those of the summary.
    """

    completed: int = 0
    failed: int = 0
    outdated: int = 0
    unreadable: int = 0
    covered: int = 0
    last_observed_at: datetime | None = None
    last_completed_at: datetime | None = None

    def add(self, other: "Tally", times: int = 1) -> None:
        """Add what another essay, or group of essays, adds; -1 takes its numbers away again."""
        self.completed += times * other.completed
        self.failed += times * other.failed
        self.outdated += times * other.outdated
        self.unreadable += times * other.unreadable
        self.covered += times * other.covered
        if times > 0:
            self.last_observed_at = later(self.last_observed_at, other.last_observed_at)
            self.last_completed_at = later(self.last_completed_at, other.last_completed_at)


_FIELDS = tuple(field.name for field in fields(Tally))
_NO_TALLY = Tally()


@dataclass(frozen=True, slots=True, kw_only=True)
class _StepRules:
    lost_at: datetime | None  # up to which every completion of the step was taken away
    needs_own: bool
    completions: Sequence[PhaseOutcome]
    depends_on: Iterable[StepName]


class CountingRules(dict[StepName, _StepRules]):
    """What a summary says of all essays alike, by step; looked up once, not for each essay.

    Of the summary only what outcomes and registrations say is used, never a count.
    """

    def __init__(self, summary: BatchCompletionSummary, dependencies: StepDependencies) -> None:
        super().__init__()
        self._summary = summary
        self._dependencies = dependencies

    def __missing__(self, step: StepName) -> _StepRules:
        known = self._summary.steps.get(step, _NOTHING)
        rules = self[step] = _StepRules(
            lost_at=latest(known.refuted_at, known.unreadable_at, self._summary.unreadable_at),
            needs_own=known.needs_own and step not in WHOLE_BATCH_STEPS,
            completions=known.completions,
            depends_on=self._dependencies.depends_on.get(step, ()),
        )
        return rules


def tally_essay(rules: CountingRules, essay: EssaySteps) -> dict[StepName, Tally]:
    """Return what an essay that counts adds to each of its steps."""
    standings = {
        name: judge_essay(name, step.sources, rules[name].lost_at, needs_own=rules[name].needs_own)
        for name, step in essay.items()
    }
    return {
        name: _tally_step(name, step.sources, rules[name], standings)
        for name, step in essay.items()
    }


def tally_all(
    summary: BatchCompletionSummary, dependencies: StepDependencies, essays: Iterable[EssaySteps]
) -> dict[StepName, Tally]:
    """Return what all essays that count add together."""
    sums: dict[StepName, Tally] = {}
    rules = CountingRules(summary, dependencies)
    for essay in essays:
        for name, tally in tally_essay(rules, essay).items():
            sums.setdefault(name, Tally()).add(tally)
    return sums


def with_counts(
    summary: BatchCompletionSummary, tallies: Tallies, essays_known: int
) -> BatchCompletionSummary:
    """Return the summary with its counts replaced."""
    names = sorted(summary.steps.keys() | tallies.keys())
    steps = {
        name: _with_tally(summary.steps.get(name, _NOTHING), tallies.get(name) or Tally())
        for name in names
    }
    return replace(summary, steps=steps, essays_known=essays_known)


class Difference(NamedTuple):
    """What one essay added before it changed, and adds now; `is_new` if nobody had heard of it."""

    before: Tallies
    after: Tallies
    is_new: bool


def with_differences(
    summary: BatchCompletionSummary, differences: Iterable[Difference]
) -> BatchCompletionSummary | None:
    """Return the summary after some essays changed, or None where all have to be counted.

    That is so where an essay may have been the latest of its step and is not any more.
    """
    sums = {name: _tally_of(step) for name, step in summary.steps.items()}
    essays_known = summary.essays_known
    for before, after, is_new in differences:
        essays_known += is_new
        for name in before.keys() | after.keys():
            was, now = before.get(name) or _NO_TALLY, after.get(name) or _NO_TALLY
            total = sums.setdefault(name, Tally())
            if _leaves(total.last_observed_at, was.last_observed_at, now.last_observed_at) or (
                _leaves(total.last_completed_at, was.last_completed_at, now.last_completed_at)
            ):
                return None
            total.add(was, -1)
            total.add(now)
    return with_counts(summary, sums, essays_known)


def _tally_step(
    name: StepName, sources: Sources, rules: _StepRules, standings: Mapping[StepName, Standing]
) -> Tally:
    holds, own = standings[name], own_word(name, sources)
    completions, lost_at = rules.completions, rules.lost_at
    return Tally(
        completed=holds.status is ProcessingStepStatus.COMPLETED,
        failed=holds.status is ProcessingStepStatus.FAILED,
        outdated=_is_outdated(holds, standings, rules.depends_on),
        unreadable=holds.is_unreadable,
        covered=bool(completions) and all(is_part_of(sources, one, lost_at) for one in completions),
        last_observed_at=own.occurred_at if own else None,
        last_completed_at=holds.completed_at,
    )


def _is_outdated(
    holds: Standing, standings: Mapping[StepName, Standing], depends_on: Iterable[StepName]
) -> bool:
    """Whether something that the essay's result was made from completed again since."""
    if holds.completed_at is None:
        return False
    made_from = (standings[name].completed_at for name in depends_on if name in standings)
    return any(time is not None and time > holds.completed_at for time in made_from)


def _judge_only(sources: Sources, lost_at: datetime | None, *, needs_own: bool) -> Standing:
    """Judge the only statement that there is; `needs_own` says that a completion is not enough."""
    [(source, said)] = sources.items()
    if said.status is not ProcessingStepStatus.COMPLETED:
        return _not_completed(said, sources)
    is_lost = lost_at is not None and said.occurred_at <= lost_at
    if is_lost or needs_own or source == UNREADABLE:
        return Standing(status=ProcessingStepStatus.PENDING)
    return Standing(status=said.status, completed_at=said.occurred_at, storage_id=said.storage_id)


def _tally_of(step: StepCompletionSummary) -> Tally:
    return Tally(*(getattr(step, name) for name in _FIELDS))


def _with_tally(known: StepCompletionSummary, tally: Tally) -> StepCompletionSummary:
    return replace(known, **{name: getattr(tally, name) for name in _FIELDS})


def _leaves(latest: datetime | None, was: datetime | None, now: datetime | None) -> bool:
    return was is not None and was == latest and (now is None or now < was)


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
