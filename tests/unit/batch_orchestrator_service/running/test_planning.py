"""The phases of a run are made from BCS's answer and from what the pipeline file says."""

from batch_orchestrator_service.domain.states import PhaseStatus
from batch_orchestrator_service.running.planning import Planner, Step
from common_core.define import DefineResponse, Evidence
from common_core.define import Phase as PhaseAnswer
from common_core.verdicts import Reason, Verdict
from tests.support.orchestrating import Bench, request

NOTHING = Evidence(completed=0, failed=0, total=None, outcome=None, completed_at=None)
STEPS = {
    "spellcheck": Step(event_type="s", depends_on=()),
    "nlp": Step(event_type="n", depends_on=("spellcheck",)),
    "ai_feedback": Step(event_type="a", depends_on=("nlp",)),
}


def answer(*names: str) -> DefineResponse:
    phases = [
        PhaseAnswer(name=one, verdict=Verdict.RUN, reason=Reason.NOT_STARTED, evidence=NOTHING)
        for one in names
    ]
    return DefineResponse(
        batch_id="batch-1",
        final_pipeline=list(names),
        analysis_summary="",
        requested_pipeline=names[-1],
        pipeline_version="1",
        degraded=False,
        correlation_id="c",
        phases=phases,
        known_until=None,
    )


def test_what_a_phase_is_made_from_by_way_of_another_is_its_prerequisite_too() -> None:
    """Else it would be given the original texts, which nobody has corrected."""
    bench = Bench.ready("e1", "e2")
    bench.click(request("click", "ai_feedback"))
    run = bench.begin()
    assert run is not None

    bench.plan(run, Planner(STEPS).plan(run, answer("spellcheck", "nlp", "ai_feedback")))
    bench.report(run, "spellcheck", "e1", "e2")
    bench.report(run, "nlp", "e1", "e2")

    last = bench.commands[-1]
    assert last.phase.name == "ai_feedback"
    assert last.phase.depends_on == ("nlp", "spellcheck")
    assert last.texts == {"e1": "spellcheck-e1", "e2": "spellcheck-e2"}


def test_a_phase_that_the_file_does_not_have_is_not_planned() -> None:
    assert Planner(STEPS).knows(answer("spellcheck", "nlp"))
    assert not Planner(STEPS).knows(answer("spellcheck", "handwriting"))


def test_the_phase_that_was_asked_for_by_its_name_says_so() -> None:
    bench = Bench.ready("e1")
    bench.click(request("click", "nlp"))
    run = bench.begin()
    assert run is not None

    phases = Planner(STEPS).plan(run, answer("spellcheck", "nlp"))

    assert [phase.status for phase in phases] == [
        PhaseStatus.PENDING_DEPENDENCIES,
        PhaseStatus.REQUESTED_BY_USER,
    ]
