"""The phases of a run are made from BCS's answer and from what the pipeline file says."""

import pytest

from batch_conductor_service.implementations.yaml_files.pipelines import read_catalog
from batch_orchestrator_service.domain.states import PhaseStatus
from batch_orchestrator_service.implementations.yaml_files.steps import PipelineFile
from batch_orchestrator_service.running.planning import Planner, Step
from common_core.define import DefineResponse, Evidence
from common_core.define import Phase as PhaseAnswer
from common_core.verdicts import Reason, Verdict
from tests.support.orchestrating import Bench, request
from tests.support.pipelines import PIPELINES_FILE

NOTHING = Evidence(completed=0, failed=0, total=None, outcome=None, completed_at=None)
STEPS = {
    "spellcheck": Step(event_type="s", depends_on=()),
    "nlp": Step(event_type="n", depends_on=("spellcheck",)),
    "ai_feedback": Step(event_type="a", depends_on=("nlp",)),
}

PLANNER = Planner(STEPS, lambda _name: "1")


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

    bench.plan(run, PLANNER.plan(run, answer("spellcheck", "nlp", "ai_feedback")))
    bench.report(run, "spellcheck", "e1", "e2")
    bench.report(run, "nlp", "e1", "e2")

    last = bench.commands[-1]
    assert last.phase.name == "ai_feedback"
    assert last.phase.depends_on == ("nlp", "spellcheck")
    assert last.texts == {"e1": "spellcheck-e1", "e2": "spellcheck-e2"}


def test_a_phase_that_the_file_does_not_have_is_not_planned() -> None:
    assert PLANNER.knows(answer("spellcheck", "nlp"))
    assert not PLANNER.knows(answer("spellcheck", "handwriting"))


def test_a_plan_of_another_version_of_the_pipeline_is_not_known() -> None:
    assert not Planner(STEPS, lambda _name: "2").knows(answer("spellcheck", "nlp"))
    assert not Planner(STEPS, lambda _name: None).knows(answer("spellcheck", "nlp"))


@pytest.mark.parametrize("name", ["nlp", "ai_feedback", "comprehensive", "spellcheck"])
def test_the_version_of_a_pipeline_is_the_one_that_bcs_has(name: str) -> None:
    pipeline = read_catalog(PIPELINES_FILE).find(name)

    assert pipeline is not None
    assert PipelineFile(PIPELINES_FILE).find_version(name) == pipeline.version
    assert PipelineFile(PIPELINES_FILE).find_version("nonsense") is None


def test_the_phase_that_was_asked_for_by_its_name_says_so() -> None:
    bench = Bench.ready("e1")
    bench.click(request("click", "nlp"))
    run = bench.begin()
    assert run is not None

    phases = PLANNER.plan(run, answer("spellcheck", "nlp"))

    assert [phase.status for phase in phases] == [
        PhaseStatus.PENDING_DEPENDENCIES,
        PhaseStatus.REQUESTED_BY_USER,
    ]
