import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_conductor_service.domain.resolution import PhaseDecision
from batch_conductor_service.exceptions import PrerequisiteMissingError
from batch_conductor_service.models import BatchCompletionSummary, BatchId
from batch_conductor_service.resolving.pipeline_resolution import DefaultPipelineRules
from common_core.verdicts import Reason, Verdict
from tests.support.builders import evidence, outcome, registration
from tests.support.pipelines import acyclic_graphs, layered, pipeline
from tests.support.summaries import all_complete, summary_of

RULES = DefaultPipelineRules()
FEEDBACK = pipeline(
    {"spellcheck": [], "nlp": ["spellcheck"], "ai_feedback": ["spellcheck", "nlp"]}, "ai_feedback"
)
NOTHING = BatchCompletionSummary(batch_id=BatchId("batch"))


def prune(
    summary: BatchCompletionSummary, essays_total: int | None = None
) -> dict[str, tuple[str, str]]:
    """Return verdict and reason of each step of `FEEDBACK`."""
    steps = RULES.resolve_pipeline_dependencies(FEEDBACK)
    phases = RULES.prune_completed_steps(steps, summary, essays_total)
    return {phase.step.name: (phase.verdict.value, phase.reason.value) for phase in phases}


def test_dependencies_come_first_then_the_order_of_the_file() -> None:
    backwards = pipeline({"c": ["b"], "b": ["a"], "z": [], "a": []})

    steps = RULES.resolve_pipeline_dependencies(backwards)

    assert [step.name for step in steps] == ["z", "a", "b", "c"]


def test_of_a_new_batch_everything_runs_and_the_target_because_it_was_asked_for() -> None:
    assert prune(NOTHING) == {
        "spellcheck": ("run", "not_started"),
        "nlp": ("run", "not_started"),
        "ai_feedback": ("run", "requested"),
    }


def test_what_is_proven_complete_is_skipped() -> None:
    assert prune(all_complete("batch", "spellcheck")) == {
        "spellcheck": ("skip", "already_completed"),
        "nlp": ("run", "not_started"),
        "ai_feedback": ("run", "requested"),
    }


def test_when_all_is_complete_nothing_runs() -> None:
    verdicts = prune(all_complete("batch", "spellcheck", "nlp", "ai_feedback"))

    assert set(verdicts.values()) == {("skip", "already_completed")}


def test_what_rests_on_a_step_that_runs_again_runs_again() -> None:
    assert prune(all_complete("batch", "nlp", "ai_feedback")) == {
        "spellcheck": ("run", "not_started"),
        "nlp": ("run", "prerequisite_runs"),
        "ai_feedback": ("run", "prerequisite_runs"),
    }


def test_a_step_begun_is_not_merely_requested() -> None:
    summary = summary_of(
        "batch",
        registration(2),
        evidence("essay-1"),
        outcome("refutes", step="nlp"),
        evidence("essay-1", "failed", step="ai_feedback"),
    )

    assert prune(summary) == {
        "spellcheck": ("run", "incomplete"),
        "nlp": ("run", "outcome_not_successful"),
        "ai_feedback": ("run", "failed_essays"),
    }


def test_a_partial_state_prunes_nothing_and_says_so() -> None:
    partial = BatchCompletionSummary(batch_id=BatchId("batch"), is_whole=False)

    assert set(prune(partial).values()) == {("run", "state_unknown")}


def test_the_total_of_the_request_counts_where_no_other_is_known() -> None:
    summary = summary_of("batch", evidence("essay-1"), evidence("essay-2"))

    assert prune(summary)["spellcheck"] == ("run", "total_unknown")
    assert prune(summary, essays_total=2)["spellcheck"] == ("skip", "already_completed")
    assert prune(summary, essays_total=3)["spellcheck"] == ("run", "incomplete")


def test_each_decision_carries_its_evidence() -> None:
    phases = RULES.prune_completed_steps(FEEDBACK.ordered, all_complete("batch", "spellcheck"))

    progress = phases[0].progress
    assert (progress.completed, progress.failed, progress.total) == (2, 0, 2)


@given(acyclic_graphs(), st.randoms(use_true_random=False))
def test_pruning_keeps_the_order_and_skips_only_what_rests_on_nothing_that_runs(
    needs: dict[str, list[str]], chance: random.Random
) -> None:
    complete = {name for name in needs if chance.random() < 0.7}
    steps = RULES.resolve_pipeline_dependencies(pipeline(needs))

    phases = RULES.prune_completed_steps(steps, all_complete("batch", *complete))

    assert [phase.step for phase in phases] == list(steps)
    skipped = {phase.step.name for phase in phases if phase.verdict is Verdict.SKIP}
    expected: set[str] = set()
    for step in steps:
        if step.name in complete and expected.issuperset(step.depends_on):
            expected.add(step.name)
    assert skipped == expected
    RULES.validate_pipeline_prerequisites(phases)


@given(acyclic_graphs(), st.randoms(use_true_random=False))
def test_the_answer_is_the_same_set_whatever_the_order_of_the_file(
    needs: dict[str, list[str]], chance: random.Random
) -> None:
    shuffled = {name: needs[name] for name in chance.sample(list(needs), len(needs))}
    summary = all_complete("batch", *(name for name in needs if chance.random() < 0.7))

    answers = [
        {
            (phase.step.name, phase.verdict, phase.reason)
            for phase in RULES.prune_completed_steps(pipeline(graph).ordered, summary)
        }
        for graph in (needs, shuffled)
    ]

    assert answers[0] == answers[1]


def decisions(*names: str) -> list[PhaseDecision]:
    by_name = {
        phase.step.name: phase for phase in RULES.prune_completed_steps(FEEDBACK.ordered, NOTHING)
    }
    return [phase for name, phase in by_name.items() if name in names]


def test_a_step_whose_prerequisite_is_not_there_is_refused() -> None:
    with pytest.raises(PrerequisiteMissingError) as caught:
        RULES.validate_pipeline_prerequisites(decisions("spellcheck", "ai_feedback"))

    assert (caught.value.step, caught.value.prerequisite) == ("ai_feedback", "nlp")


def test_a_step_that_comes_before_its_prerequisite_is_refused() -> None:
    with pytest.raises(PrerequisiteMissingError):
        RULES.validate_pipeline_prerequisites([*reversed(decisions("spellcheck", "nlp"))])


def test_a_step_without_its_prerequisites_is_never_skipped() -> None:
    alone = [step for step in FEEDBACK.ordered if step.name == "nlp"]

    (phase,) = RULES.prune_completed_steps(alone, all_complete("batch", "nlp"))

    assert (phase.verdict, phase.reason) == (Verdict.RUN, Reason.PREREQUISITE_RUNS)


def test_a_large_graph_is_pruned_and_validated_in_well_under_a_second() -> None:
    large = pipeline(layered(layers=40, width=50, dependencies=12))
    started = time.process_time()

    phases = RULES.prune_completed_steps(RULES.resolve_pipeline_dependencies(large), NOTHING)
    RULES.validate_pipeline_prerequisites(phases)

    assert time.process_time() - started < 1
    assert len(phases) == 2_000
