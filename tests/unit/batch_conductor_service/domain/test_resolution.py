import pytest

from batch_conductor_service.domain.pipelines import Pipeline
from batch_conductor_service.domain.resolution import (
    PhaseDecision,
    Resolution,
    ResolutionRequest,
    StepProgress,
)
from batch_conductor_service.models import BatchId
from common_core.verdicts import Reason, Verdict
from tests.support.pipelines import pipeline_step


def resolution(verdicts: dict[str, Verdict], *, is_degraded: bool = False) -> Resolution:
    steps = tuple(pipeline_step(name) for name in verdicts)
    return Resolution(
        request=ResolutionRequest(
            batch_id=BatchId("batch"), requested_pipeline="both", correlation_id="correlation"
        ),
        pipeline=Pipeline(name="both", description="", steps=steps),
        phases=[
            PhaseDecision(
                step=step,
                verdict=verdicts[step.name],
                reason=Reason.REQUESTED,
                progress=StepProgress(reason=Reason.NOT_STARTED),
            )
            for step in steps
        ],
        is_degraded=is_degraded,
    )


def test_what_runs_and_what_is_skipped_keep_their_order() -> None:
    answer = resolution({"a": Verdict.SKIP, "b": Verdict.RUN, "c": Verdict.SKIP, "d": Verdict.RUN})

    assert answer.final_pipeline == ["b", "d"]
    assert answer.skipped == ["a", "c"]


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ("run", "run", "Batch 'batch': 2 of 2 steps of 'both' to run: a, b."),
        ("skip", "run", "Batch 'batch': 1 of 2 steps of 'both' to run: b; already complete: a."),
        ("skip", "skip", "All 2 steps of 'both' are already complete for batch 'batch'."),
    ],
)
def test_the_summary_says_it_in_one_sentence(first: str, second: str, sentence: str) -> None:
    answer = resolution({"a": Verdict(first), "b": Verdict(second)})

    assert answer.analysis_summary == sentence


def test_the_summary_says_when_it_is_degraded() -> None:
    answer = resolution({"a": Verdict.RUN}, is_degraded=True)

    assert answer.analysis_summary.endswith(" Answered without the whole state of the batch.")
