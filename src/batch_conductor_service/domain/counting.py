"""How the essays of a batch are counted: what each one adds to the summary, and how sums change.

A batch is counted by adding up its essays; after an essay's own event, the difference that
this essay makes is enough. Both use the same function, so they cannot disagree. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.domain.standing import (
    Sources,
    Standing,
    is_part_of,
    judge_essay,
    latest,
    own_word,
)
from batch_conductor_service.models import (
    WHOLE_BATCH_STEPS,
    BatchCompletionSummary,
    EssayStep,
    ProcessingStepStatus,
    StepCompletionSummary,
    StepName,
)

EssaySteps = Mapping[StepName, EssayStep]
Tallies = Mapping[StepName, "Tally"]

_NOTHING = StepCompletionSummary()


@dataclass(slots=True)
class Tally:
    """What essays add to the summary of one step: sums, and times of which the latest counts."""

    completed: int = 0
    failed: int = 0
    outdated: int = 0
    unreadable: int = 0
    covered: int = 0
    observed_at: datetime | None = None
    completed_at: datetime | None = None

    def add(self, other: "Tally") -> None:
        """Add what another essay, or group of essays, adds."""
        self.completed += other.completed
        self.failed += other.failed
        self.outdated += other.outdated
        self.unreadable += other.unreadable
        self.covered += other.covered
        self.observed_at = _later(self.observed_at, other.observed_at)
        self.completed_at = _later(self.completed_at, other.completed_at)


def lost_at(summary: BatchCompletionSummary, step: StepName) -> datetime | None:
    """Return the time up to which every completion of the step was taken away."""
    known = summary.steps.get(step, _NOTHING)
    return latest(known.refuted_at, known.unreadable_at, summary.unreadable_at)


def tally_essay(
    summary: BatchCompletionSummary, dependencies: StepDependencies, essay: EssaySteps
) -> dict[StepName, Tally]:
    """Return what an essay that counts adds to each of its steps.

    Of the summary only what outcomes and registrations say is used, never a count.
    """
    standings = {
        name: judge_essay(
            name,
            step.sources,
            lost_at(summary, name),
            needs_own=name not in WHOLE_BATCH_STEPS and summary.steps.get(name, _NOTHING).needs_own,
        )
        for name, step in essay.items()
    }
    return {
        name: _tally_step(summary, name, step.sources, standings, dependencies)
        for name, step in essay.items()
    }


def tally_all(
    summary: BatchCompletionSummary, dependencies: StepDependencies, essays: Iterable[EssaySteps]
) -> dict[StepName, Tally]:
    """Return what all essays that count add together."""
    sums: dict[StepName, Tally] = {}
    for essay in essays:
        for name, tally in tally_essay(summary, dependencies, essay).items():
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


def with_difference(
    summary: BatchCompletionSummary, before: Tallies, after: Tallies, *, is_new: bool
) -> BatchCompletionSummary | None:
    """Return the summary after one essay changed, or None where all essays have to be counted.

    That is so where the essay may have been the latest of its step and is not any more.
    """
    steps = dict(summary.steps)
    for name in before.keys() | after.keys():
        was, now = before.get(name) or Tally(), after.get(name) or Tally()
        known = steps.get(name, _NOTHING)
        if _leaves(known.last_observed_at, was.observed_at, now.observed_at) or _leaves(
            known.last_completed_at, was.completed_at, now.completed_at
        ):
            return None
        steps[name] = _with_tally(known, _changed(known, was, now))
    return replace(
        summary, steps=dict(sorted(steps.items())), essays_known=summary.essays_known + is_new
    )


def _tally_step(
    summary: BatchCompletionSummary,
    name: StepName,
    sources: Sources,
    standings: Mapping[StepName, Standing],
    dependencies: StepDependencies,
) -> Tally:
    holds, own = standings[name], own_word(name, sources)
    completions = summary.steps.get(name, _NOTHING).completions
    return Tally(
        completed=holds.status is ProcessingStepStatus.COMPLETED,
        failed=holds.status is ProcessingStepStatus.FAILED,
        outdated=_is_outdated(holds, standings, dependencies.of(name)),
        unreadable=holds.is_unreadable,
        covered=bool(completions)
        and all(is_part_of(sources, one, lost_at(summary, name)) for one in completions),
        observed_at=own.occurred_at if own else None,
        completed_at=holds.completed_at,
    )


def _is_outdated(
    holds: Standing, standings: Mapping[StepName, Standing], depends_on: Iterable[StepName]
) -> bool:
    """Whether something that the essay's result was made from completed again since."""
    if holds.completed_at is None:
        return False
    made_from = (standings[name].completed_at for name in depends_on if name in standings)
    return any(time is not None and time > holds.completed_at for time in made_from)


def _with_tally(known: StepCompletionSummary, tally: Tally) -> StepCompletionSummary:
    return replace(
        known,
        completed=tally.completed,
        failed=tally.failed,
        outdated=tally.outdated,
        unreadable=tally.unreadable,
        covered=tally.covered,
        last_observed_at=tally.observed_at,
        last_completed_at=tally.completed_at,
    )


def _changed(known: StepCompletionSummary, was: Tally, now: Tally) -> Tally:
    return Tally(
        completed=known.completed - was.completed + now.completed,
        failed=known.failed - was.failed + now.failed,
        outdated=known.outdated - was.outdated + now.outdated,
        unreadable=known.unreadable - was.unreadable + now.unreadable,
        covered=known.covered - was.covered + now.covered,
        observed_at=_later(known.last_observed_at, now.observed_at),
        completed_at=_later(known.last_completed_at, now.completed_at),
    )


def _leaves(latest: datetime | None, was: datetime | None, now: datetime | None) -> bool:
    return was is not None and was == latest and (now is None or now < was)


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return max(one, other)
