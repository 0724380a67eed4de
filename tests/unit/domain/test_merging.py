import itertools

import pytest

from batch_conductor_service.domain.merging import (
    earlier,
    effective,
    later,
    merge_evidence,
    storage_id_of,
)
from batch_conductor_service.models import (
    OBSERVED,
    EssayEvidence,
    EssayStep,
    ProcessingStepStatus,
)
from tests.support.builders import evidence, minutes, outcome

COMPLETED, FAILED = ProcessingStepStatus.COMPLETED, ProcessingStepStatus.FAILED


def step(*items: EssayEvidence) -> EssayStep:
    return EssayStep(sources={item.source: item.evidence for item in items})


def observed(status: str, at: float, storage_id: str | None = None) -> EssayEvidence:
    return evidence("essay", status, minutes(at), storage_id=storage_id)


def reported(
    status: str, at: float, storage_id: str | None = None, source: str = "report"
) -> EssayEvidence:
    return evidence("essay", status, minutes(at), storage_id=storage_id, source=source)


def test_the_later_statement_holds() -> None:
    old, new = observed("failed", 1).evidence, observed("completed", 2).evidence

    assert later(old, new) == later(new, old) == new


@pytest.mark.parametrize("pair", [*itertools.combinations(["completed", "pending", "failed"], 2)])
def test_of_two_statements_at_one_time_the_one_that_runs_the_phase_holds(
    pair: tuple[str, str],
) -> None:
    trusting, doubting = (observed(status, 1).evidence for status in pair)

    assert later(trusting, doubting) == later(doubting, trusting) == doubting


def test_a_tie_in_all_else_falls_to_the_storage_id() -> None:
    one, other = observed("completed", 1, "a").evidence, observed("completed", 1, "b").evidence

    assert later(one, other) == later(other, one) == other


def test_the_earlier_of_two_copies_of_a_report_is_the_true_one() -> None:
    first, copy = outcome(at=minutes(1)), outcome(at=minutes(9))

    assert earlier(first, copy) == earlier(copy, first) == first


def test_an_essays_own_statement_is_replaced_by_a_later_and_a_report_by_an_earlier() -> None:
    old, new = observed("failed", 1).evidence, observed("failed", 2).evidence

    assert merge_evidence(OBSERVED, None, old) == old
    assert merge_evidence(OBSERVED, old, new) == new
    assert merge_evidence("report", new, old) == old


@pytest.mark.parametrize(
    ("items", "status"),
    [
        ([observed("completed", 1)], "completed"),
        ([reported("completed", 1)], "completed"),
        ([reported("failed", 1)], "failed"),
        ([observed("failed", 1), reported("completed", 2)], "failed"),
        ([observed("completed", 1), reported("failed", 2)], "failed"),
        ([observed("completed", 2), reported("failed", 2)], "failed"),
        ([observed("completed", 3), reported("failed", 2)], "completed"),
        ([observed("pending", 1), reported("completed", 2)], "pending"),
        ([reported("completed", 1), reported("failed", 2, source="new")], "failed"),
        ([reported("failed", 1), reported("completed", 2, source="new")], "completed"),
    ],
)
def test_a_report_only_ever_takes_away_what_an_essay_said_of_itself(
    items: list[EssayEvidence], status: str
) -> None:
    assert effective(step(*items)).status == status


def test_a_step_without_evidence_has_no_status() -> None:
    with pytest.raises(ValueError, match="without evidence"):
        effective(EssayStep(sources={}))


@pytest.mark.parametrize(
    ("items", "storage_id"),
    [
        ([observed("completed", 1, "own")], "own"),
        ([observed("completed", 1), reported("completed", 2, "told")], "told"),
        ([observed("completed", 1, "own"), reported("completed", 2, "told")], "own"),
        ([observed("completed", 1)], None),
        ([observed("failed", 2), reported("completed", 1, "told")], None),
    ],
)
def test_the_output_of_a_completed_step_is_known_from_any_source(
    items: list[EssayEvidence], storage_id: str | None
) -> None:
    assert storage_id_of(step(*items)) == storage_id
