"""Which essays still need a step, where its prerequisite does not say which."""

import pytest

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.pending import with_pending
from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.models import BatchId
from batch_conductor_service.resolving.pipeline_resolution import DefaultPipelineRules
from tests.support.builders import evidence, registration, update
from tests.support.pipelines import pipeline

ESSAYS = ("e1", "e2")


@pytest.mark.parametrize(
    ("first", "pending"), [("cj_assessment", None), ("spellcheck", ESSAYS)], ids=str
)
def test_a_step_after_one_over_the_whole_batch_is_run_for_all(
    first: str, pending: tuple[str, ...] | None
) -> None:
    steps = pipeline({first: [], "report": [first]})
    dependencies = PipelineCatalog({"pipeline": steps}).dependencies
    state = BatchState(BatchId("batch"))
    state.merge(update("batch", registration(2, essays=ESSAYS), evidence("e1", step="report")))
    summary = state.summarise(dependencies)
    phases = DefaultPipelineRules().prune_completed_steps(steps.steps, summary, None)

    judged = with_pending(phases, summary, state, dependencies)

    assert [phase.pending for phase in judged] == [pending, pending]
