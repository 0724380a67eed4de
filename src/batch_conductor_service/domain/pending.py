"""Which essays still need a step that runs. Pure; imports only the standard library.

To leave an essay out is to prune the step for it, so the same proof is asked for: without it
nothing is known, and the step runs for all.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.counting import CountingRules, tally_essay
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.domain.resolution import PhaseDecision
from batch_conductor_service.models import (
    WHOLE_BATCH_STEPS,
    BatchCompletionSummary,
    EssayId,
    StepName,
)
from common_core.verdicts import Verdict

MAX_PENDING = 10_000


def with_pending(
    phases: Sequence[PhaseDecision],
    summary: BatchCompletionSummary,
    state: BatchState,
    dependencies: StepDependencies,
) -> list[PhaseDecision]:
    """Return the phases with the essays that still need them, where those are known.

    They are known where the registration names as many essays as there are, and the state says
    exactly what the summary said by which the phases were judged.
    """
    members = state.members()
    if members is None or state.summarise(dependencies) != summary:
        return list(phases)
    needing = _find_needing(members, summary, state, dependencies)
    pending: dict[StepName, frozenset[EssayId] | None] = {}
    judged = []
    for phase in phases:
        if phase.verdict is Verdict.RUN:
            names = needing(phase.step.name) if len(members) == phase.progress.total else None
            pending[phase.step.name] = _join(phase, names, pending)
        found = pending.get(phase.step.name)
        is_listed = found is not None and len(found) <= MAX_PENDING
        judged.append(replace(phase, pending=tuple(sorted(found)) if is_listed and found else None))
    return judged


def _join(
    phase: PhaseDecision,
    names: frozenset[EssayId] | None,
    pending: dict[StepName, frozenset[EssayId] | None],
) -> frozenset[EssayId] | None:
    """Add the essays whose prerequisites run; whatever is not known there is not known here."""
    if names is None or phase.step.name in WHOLE_BATCH_STEPS:
        return None
    joined = names
    for prerequisite in phase.step.depends_on:
        if prerequisite in pending:
            before = pending[prerequisite]
            if before is None:
                return None
            joined |= before
    # A step that runs though no essay needs it runs for a reason that is of no essay.
    return joined or None


def _find_needing(
    members: frozenset[EssayId],
    summary: BatchCompletionSummary,
    state: BatchState,
    dependencies: StepDependencies,
) -> Callable[[StepName], frozenset[EssayId]]:
    rules = CountingRules(summary, dependencies)
    tallies = {
        essay.essay_id: tally_essay(rules, essay.steps)
        for essay in state.each_essay()
        if essay.essay_id in members
    }

    def needing(step: StepName) -> frozenset[EssayId]:
        done = {
            essay
            for essay, by_step in tallies.items()
            if step in by_step and by_step[step].completed and not by_step[step].outdated
        }
        return members - done

    return needing
