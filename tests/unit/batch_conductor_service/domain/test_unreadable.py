"""What is left to say of something that cannot be read, or not be kept: it may be a failure."""

import pytest

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.resolution import judge_step
from batch_conductor_service.domain.statements import as_unreadable
from batch_conductor_service.models import (
    UNREADABLE,
    BatchId,
    BatchRegistration,
    EssayEvidence,
    PhaseOutcome,
    StepName,
)
from common_core.verdicts import Reason
from tests.support.builders import evidence, minutes, outcome, registration, reported, update
from tests.support.pipelines import DEPENDENCIES

SPELLCHECK = StepName("spellcheck")


def judge(*items: EssayEvidence | PhaseOutcome | BatchRegistration, kept: bool = True) -> Reason:
    """Judge a step of one essay that is done, after the items were said and kept, or not."""
    state = BatchState(BatchId("batch"))
    state.merge(update("batch", registration(1), evidence("a")))
    said = update("batch", *items)
    state.merge(said if kept else as_unreadable(said))
    return judge_step(state.summarise(DEPENDENCIES), SPELLCHECK).reason


@pytest.mark.parametrize(
    "item",
    [
        evidence("a", "failed", minutes(1)),
        evidence("a", "completed", minutes(1), storage_id="text"),
        outcome("refutes", minutes(1)),
        outcome("confirms", minutes(1), fingerprint="own:1"),
        registration(1, minutes(1), fingerprint="again"),
    ],
)
def test_whatever_cannot_be_kept_makes_what_it_was_about_unreadable(
    item: EssayEvidence | PhaseOutcome | BatchRegistration,
) -> None:
    assert judge(item, kept=False) is Reason.UNREADABLE_EVENT


def test_what_completes_after_it_stands() -> None:
    lost = as_unreadable(update("batch", *reported(["a"], minutes(1))))
    again = evidence("a", at=minutes(2))

    assert judge(*lost.evidence, *lost.outcomes, again) is Reason.ALREADY_COMPLETED


def test_nothing_of_its_content_is_kept() -> None:
    said = update(
        "batch",
        *reported(["a"], minutes(1), fingerprint="x" * 999),
        registration(3, minutes(2), essays=["a", "b", "c"]),
    )

    lost = as_unreadable(said)

    assert lost.batch_id == "batch"
    assert {one.source for one in lost.evidence} == {UNREADABLE}
    assert {one.fingerprint for one in lost.outcomes} == {UNREADABLE}
    assert {one.essay_ids for one in lost.registrations} == {()}
    assert as_unreadable(lost) == lost


def test_a_registration_is_unreadable_from_its_latest_copy_on() -> None:
    state = BatchState(BatchId("batch"))
    for at in (minutes(1), minutes(5)):
        state.merge(update("batch", registration(2, at)))

    [unreadable] = as_unreadable(state.as_update()).registrations

    assert (unreadable.occurred_at, unreadable.repeated_at) == (minutes(5), minutes(5))
