"""A run goes on outcome by outcome, hands out corrected texts, and ends once."""

import pytest

from batch_orchestrator_service.domain.advancing import Effect
from batch_orchestrator_service.domain.states import PhaseStatus, RunState
from tests.support.orchestrating import NOON, Bench, batch_of, named, planned, request


def statuses(bench: Bench, name: str = "nlp") -> dict[str, str]:
    run = next(run for run in bench.state.runs if run.pipeline == name)
    return {phase.name: phase.status.value for phase in run.phases}


def test_the_first_phase_is_commanded_with_the_original_texts() -> None:
    bench = Bench.ready("e1", "e2")

    bench.run_to("nlp")

    [command] = bench.commands
    assert command.phase.name == "spellcheck"
    assert command.texts == {"e1": "original-e1", "e2": "original-e2"}


def test_the_next_phase_is_commanded_with_the_corrected_texts() -> None:
    bench = Bench.ready("e1", "e2")
    run = bench.run_to("nlp")

    effect = bench.report(run, "spellcheck", "e1", "e2")

    assert effect is Effect.MOVED
    assert bench.commands[-1].phase.name == "nlp"
    assert bench.commands[-1].texts == {"e1": "spellcheck-e1", "e2": "spellcheck-e2"}


def test_a_run_that_came_through_is_told_once() -> None:
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")
    bench.report(run, "spellcheck", "e1")
    bench.report(run, "nlp", "e1")

    [completion] = bench.completions
    assert completion.run.state is RunState.COMPLETED_SUCCESSFULLY
    assert completion.status == "completed_successfully"
    assert completion.completed_phases == ("spellcheck", "nlp")
    assert (completion.successful, completion.failed) == (1, 0)


def test_an_essay_that_failed_is_in_no_later_phase_and_is_counted() -> None:
    bench = Bench.ready("e1", "e2", "e3")
    run = bench.run_to("nlp")

    bench.report(run, "spellcheck", "e1", "e3", status="completed_with_failures")
    bench.report(run, "nlp", "e1", "e3")

    assert bench.commands[-1].texts == {"e1": "spellcheck-e1", "e3": "spellcheck-e3"}
    assert bench.commands[-1].phase.left_out == ("e2",)
    [completion] = bench.completions
    assert completion.status == "completed_with_failures"
    assert (completion.successful, completion.failed) == (2, 1)


def test_an_essay_in_neither_list_failed_whatever_the_status_says() -> None:
    bench = Bench.ready("e1", "e2")
    run = bench.run_to("nlp")

    bench.report(run, "spellcheck", "e1", status="completed_successfully")

    assert statuses(bench)["spellcheck"] == PhaseStatus.COMPLETED_WITH_PARTIAL_SUCCESS
    assert set(bench.commands[-1].texts) == {"e1"}


def test_an_essay_that_was_not_asked_for_counts_for_nothing() -> None:
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")

    bench.report(run, "spellcheck", "e1", "stranger")

    assert set(bench.commands[-1].texts) == {"e1"}
    assert "stranger" not in bench.state.outputs["spellcheck"]


@pytest.mark.parametrize(
    ("processed", "status"),
    [
        ((), "completed_successfully"),
        ((), "completed_with_failures"),
        (("e1", "e2"), "failed_critically"),
        (("stranger",), "completed_successfully"),
    ],
)
def test_a_phase_that_nobody_came_through_ends_the_run(
    processed: tuple[str, ...], status: str
) -> None:
    bench = Bench.ready("e1", "e2")
    run = bench.run_to("nlp")

    bench.report(run, "spellcheck", *processed, status=status)

    assert statuses(bench) == {
        "spellcheck": PhaseStatus.FAILED,
        "nlp": PhaseStatus.SKIPPED_DUE_TO_DEPENDENCY_FAILURE,
    }
    [completion] = bench.completions
    assert completion.status == "failed_critically"
    assert (completion.successful, completion.failed) == (0, 2)
    assert len(bench.commands) == 1


def test_a_pruned_phase_is_not_commanded_and_its_texts_are_used() -> None:
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")
    bench.report(run, "spellcheck", "e1")
    bench.report(run, "nlp", "e1")

    bench.run_to("cj_assessment", skipping=("spellcheck",))

    assert [one.phase.name for one in bench.commands] == ["spellcheck", "nlp", "cj_assessment"]
    assert bench.commands[-1].texts == {"e1": "spellcheck-e1"}
    assert statuses(bench, "cj_assessment")["spellcheck"] == PhaseStatus.SKIPPED_BY_USER_CONFIG


def test_a_pruned_phase_without_texts_never_leads_to_the_originals() -> None:
    bench = Bench.ready("e1")

    bench.run_to("cj_assessment", skipping=("spellcheck",))

    assert bench.commands == []
    assert bench.completions[0].status == "failed_critically"


def test_nothing_to_do_ends_at_once() -> None:
    bench = Bench.ready("e1")

    run = bench.run_to("nlp", skipping=("spellcheck", "nlp"))

    assert run.state is RunState.NOTHING_TO_DO
    [completion] = bench.completions
    assert (completion.status, completion.completed_phases) == ("completed_successfully", ())
    assert bench.commands == []


def test_only_the_essays_that_still_need_a_phase_are_commanded() -> None:
    bench = Bench.ready("e1", "e2", "e3")
    run = bench.run_to("nlp")
    bench.report(run, "spellcheck", "e1", "e2", status="completed_with_failures")
    bench.report(run, "nlp", "e1", "e2")

    bench.click(request("retry", "nlp", is_retry=True))
    retry = bench.begin()
    assert retry is not None
    pending = {"spellcheck": frozenset({"e3"}), "nlp": frozenset[str]()}
    bench.plan(retry, planned("nlp", pending=pending))
    bench.report(retry, "spellcheck", "e3")
    bench.report(retry, "nlp", "e3")

    again = [(one.phase.name, one.phase.attempt, one.texts) for one in bench.commands[2:]]
    assert again == [
        ("spellcheck", 2, {"e3": "original-e3"}),
        ("nlp", 2, {"e3": "spellcheck-e3"}),  # what spellcheck did again
    ]
    assert bench.completions[-1].status == "completed_successfully"
    assert len({one.message_id for one in bench.commands}) == 4


def test_a_phase_that_is_to_run_though_nobody_needs_it_runs_for_all() -> None:
    bench = Bench.ready("e1", "e2")

    bench.run_to("spellcheck", pending={"spellcheck": frozenset[str]()})

    assert set(bench.commands[0].texts) == {"e1", "e2"}


def test_an_essay_that_fails_again_keeps_the_others_from_nothing() -> None:
    bench = Bench.ready("e1", "e2", "e3")
    run = bench.run_to("nlp")
    bench.report(run, "spellcheck", "e1", "e3", status="completed_with_failures")
    bench.report(run, "nlp", "e1", "e3")
    only = frozenset({"e2"})

    run = bench.run_to("ai_feedback", pending={"spellcheck": only, "nlp": only})
    bench.report(run, "spellcheck", status="completed_with_failures")
    bench.report(run, "ai_feedback", "e1", "e3")

    assert statuses(bench, "ai_feedback") == {
        "spellcheck": "failed",
        "nlp": "skipped_due_to_dependency_failure",
        "ai_feedback": "completed_with_partial_success",
    }
    assert bench.commands[-1].texts == {"e1": "spellcheck-e1", "e3": "spellcheck-e3"}
    completion = bench.completions[-1]
    assert completion.status == "completed_with_failures"
    assert completion.completed_phases == ("ai_feedback",)
    assert (completion.successful, completion.failed) == (2, 1)


def test_essays_that_never_came_count_as_failed() -> None:
    bench = Bench.ready("e1")
    bench.state = type(bench.state)(
        batch_id="batch-1", batch=batch_of("e1", expected=3, is_guest=True)
    )
    run = bench.run_to("nlp")
    bench.report(run, "spellcheck", "e1")
    bench.report(run, "nlp", "e1")

    [completion] = bench.completions
    assert completion.status == "completed_with_failures"
    assert (completion.successful, completion.failed) == (1, 2)


def test_an_early_outcome_moves_nothing() -> None:
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")

    effect = bench.report(run, "nlp", "e1")

    assert effect is Effect.UNEXPECTED
    assert len(bench.commands) == 1
    assert "nlp" not in bench.state.outputs


def test_a_late_outcome_and_one_sent_twice_move_nothing() -> None:
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")
    bench.report(run, "spellcheck", "e1")
    before = bench.state.runs

    effects = {
        bench.report(run, "spellcheck", "e1"),
        bench.report(run, "spellcheck", status="failed_critically"),
    }

    assert effects == {Effect.UNEXPECTED}
    assert bench.state.runs == before
    assert len(bench.commands) == 2


def test_an_outcome_of_another_run_moves_nothing() -> None:
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")
    bench.report(run, "spellcheck", "e1")
    bench.report(run, "nlp", "e1")
    second = bench.run_to("cj_assessment", skipping=("spellcheck",))

    effect = bench.report(run, "cj_assessment", "e1")

    assert effect is Effect.FOREIGN
    assert bench.run_of(second).state is RunState.RUNNING
    assert bench.state.outcome_at == NOON  # its news is what the next question must include


def test_a_status_that_ends_nothing_moves_nothing() -> None:
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")

    assert bench.report(run, "spellcheck", "e1", status="in_progress") is Effect.NO_END
    assert bench.report(run, "spellcheck", "e1", status="something_new") is Effect.NO_END


@pytest.mark.parametrize("is_waiting", [False, True])
def test_a_cancelled_run_is_told_as_failed_and_the_next_begins(*, is_waiting: bool) -> None:
    bench = Bench.ready("e1")
    if is_waiting:
        accepted = bench.click(request("nlp", "nlp")).run
        assert accepted is not None
        run = accepted
    else:
        run = bench.run_to("nlp")
    bench.click(request("second", "cj_assessment"))

    bench.cancel(run)

    assert bench.run_of(run).state is RunState.CANCELLED
    assert bench.completions[-1].status == "failed_critically"
    following = bench.begin()
    assert following is not None
    assert following.pipeline == "cj_assessment"


def test_ids_follow_from_what_they_name() -> None:
    first, second = Bench.ready("e1"), Bench.ready("e1")
    for bench in (first, second):
        run = bench.run_to("nlp")
        bench.report(run, "spellcheck", "e1")
        bench.report(run, "nlp", "e1")

    assert [one.message_id for one in first.sent] == [one.message_id for one in second.sent]
    assert len({one.message_id for one in first.sent}) == 3
    assert named("nlp") not in {one.message_id for one in first.sent}
