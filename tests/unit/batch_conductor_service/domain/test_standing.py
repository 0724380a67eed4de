"""What holds for one essay in one step, given all that was said of it."""

from datetime import datetime

import pytest

from batch_conductor_service.domain.counting import Standing, judge_essay
from batch_conductor_service.domain.statements import Sources, is_part_of
from batch_conductor_service.models import (
    OBSERVED,
    UNREADABLE,
    EssayEvidence,
    ProcessingStepStatus,
    StepName,
)
from tests.support.builders import evidence, minutes, outcome

SPELLCHECK, CJ_ASSESSMENT = StepName("spellcheck"), StepName("cj_assessment")
PENDING = Standing(status=ProcessingStepStatus.PENDING)


def own(status: str, at: float, storage_id: str | None = None) -> EssayEvidence:
    return evidence("essay", status, minutes(at), storage_id=storage_id)


def told(
    status: str, at: float, storage_id: str | None = None, *, by: str = "report"
) -> EssayEvidence:
    return evidence("essay", status, minutes(at), storage_id=storage_id, source=by)


def unreadable(at: float) -> EssayEvidence:
    return told("pending", at, by=UNREADABLE)


def sources(*items: EssayEvidence) -> Sources:
    return {item.source: item.evidence for item in items}


def judge(
    *items: EssayEvidence,
    step: StepName = SPELLCHECK,
    lost_at: datetime | None = None,
    needs_own: bool = False,
) -> Standing:
    return judge_essay(step, sources(*items), lost_at, needs_own=needs_own)


def completed(at: float, storage_id: str | None = None) -> Standing:
    return Standing(
        status=ProcessingStepStatus.COMPLETED, completed_at=minutes(at), storage_id=storage_id
    )


def test_an_essay_nobody_has_spoken_of_is_pending() -> None:
    assert judge() == PENDING


@pytest.mark.parametrize(
    ("items", "status"),
    [
        ([own("completed", 1)], "completed"),
        ([own("failed", 1)], "failed"),
        ([own("pending", 1)], "pending"),
        ([told("completed", 1)], "completed"),
        ([told("failed", 1)], "failed"),
        ([own("failed", 1), told("completed", 2)], "failed"),
        ([own("pending", 1), told("completed", 2)], "pending"),
        ([own("completed", 1), told("failed", 2)], "failed"),
        ([own("completed", 2), told("failed", 2)], "failed"),
        ([own("completed", 3), told("failed", 2)], "completed"),
        ([own("failed", 1), told("pending", 2)], "pending"),
        ([own("failed", 2), told("pending", 1)], "failed"),
        ([told("completed", 1), told("failed", 2, by="new")], "failed"),
        ([told("failed", 1), told("completed", 2, by="new")], "completed"),
        ([told("failed", 1), told("pending", 1, by="new")], "failed"),
    ],
)
def test_a_report_only_ever_takes_away_what_an_essay_said_of_itself(
    items: list[EssayEvidence], status: str
) -> None:
    assert judge(*items).status == status


def test_an_essay_that_spoke_for_itself_completes_only_by_its_own_word() -> None:
    """An outcome after a reported failure lists it; its own completion is older than that."""
    items = [own("completed", 1), told("failed", 2), told("completed", 3, by="new")]

    assert judge(*items).status is ProcessingStepStatus.FAILED
    assert judge(*items, own("completed", 4)) == completed(4)


def test_an_outcome_that_reports_a_completion_does_not_move_its_time() -> None:
    assert judge(own("completed", 1), told("completed", 9)).completed_at == minutes(1)


def test_of_reported_completions_the_latest_gives_the_time() -> None:
    reports = [told("completed", 1, by="old"), told("completed", 5, by="new")]

    assert judge(*reports).completed_at == minutes(5)


@pytest.mark.parametrize(("lost_at", "stands"), [(0, True), (1, False), (2, False)])
@pytest.mark.parametrize("item", [own("completed", 1), told("completed", 1)])
def test_what_completed_no_later_than_a_refutation_has_to_complete_again(
    item: EssayEvidence, lost_at: float, *, stands: bool
) -> None:
    expected = completed(1) if stands else PENDING

    assert judge(item, lost_at=minutes(lost_at)) == expected


def test_a_failure_is_not_taken_away_by_a_refutation() -> None:
    failed = Standing(status=ProcessingStepStatus.FAILED)

    assert judge(own("failed", 1), lost_at=minutes(2)) == failed
    assert judge(told("failed", 1), lost_at=minutes(2)) == failed


def test_a_completion_between_a_failure_and_a_refutation_is_merely_gone() -> None:
    """It did complete after the failure, so it does not count as failed."""
    items = [told("failed", 1), own("completed", 2)]

    assert judge(*items, lost_at=minutes(3)) == PENDING


class TestUnreadable:
    def test_a_record_that_could_not_be_read_keeps_the_essay_from_being_completed(self) -> None:
        expected = Standing(status=ProcessingStepStatus.PENDING, is_unreadable=True)

        assert judge(unreadable(1)) == expected
        assert judge(own("completed", 1), unreadable(2)) == expected
        assert judge(own("completed", 2), unreadable(2)) == expected
        assert judge(told("completed", 1), unreadable(2)) == expected
        assert judge(own("failed", 1), unreadable(2)) == expected
        assert judge(own("pending", 2), unreadable(2)) == expected

    def test_of_two_setbacks_at_one_time_it_is_the_one_that_is_shown(self) -> None:
        """Whichever was heard of first."""
        not_believed = told("pending", 2, by="report?")

        assert judge(not_believed, unreadable(2)) == judge(unreadable(2), not_believed)
        assert judge(not_believed, unreadable(2)).is_unreadable

    def test_a_later_completion_of_its_own_ends_that(self) -> None:
        assert judge(own("completed", 3), unreadable(2)) == completed(3)

    def test_a_report_does_not_end_it_for_what_could_not_be_read_may_be_a_failure(self) -> None:
        assert judge(told("completed", 3), unreadable(2)) == judge(unreadable(2))

    def test_nor_does_a_report_where_such_a_record_may_be_of_any_essay(self) -> None:
        assert judge(told("completed", 3), needs_own=True) == PENDING
        assert judge(own("completed", 3), needs_own=True) == completed(3)
        assert judge(told("failed", 3), needs_own=True).status is ProcessingStepStatus.FAILED

    def test_a_later_failure_that_is_readable_goes_before_it(self) -> None:
        assert judge(own("failed", 3), unreadable(2)) == judge(own("failed", 3))
        assert judge(told("failed", 3), unreadable(2)) == judge(told("failed", 3))


class TestOutput:
    @pytest.mark.parametrize(
        ("items", "storage_id"),
        [
            ([own("completed", 1, "own")], "own"),
            ([own("completed", 1), told("completed", 2, "told")], "told"),
            ([own("completed", 1, "own"), told("completed", 2, "told")], "own"),
            (
                [told("completed", 1, "old", by="old"), told("completed", 2, "new", by="new")],
                "new",
            ),
            ([told("completed", 1, "old", by="old"), told("completed", 2, by="new")], "old"),
            ([own("completed", 1)], None),
            ([own("failed", 2), told("completed", 1, "told")], None),
            ([told("completed", 1, "told"), told("failed", 2, by="new")], None),
        ],
    )
    def test_that_of_a_completed_step_is_known_from_any_source(
        self, items: list[EssayEvidence], storage_id: str | None
    ) -> None:
        assert judge(*items).storage_id == storage_id


class TestStepsOverTheWholeBatch:
    """They have no events of single essays; earlier versions kept their reports as such."""

    def test_a_report_completes_in_spite_of_what_was_kept_as_an_own_event(self) -> None:
        items = [own("failed", 1), told("completed", 2)]

        assert judge(*items, step=CJ_ASSESSMENT) == completed(2)
        assert judge(*items, step=SPELLCHECK).status is ProcessingStepStatus.FAILED

    def test_an_essay_is_part_of_a_completion_that_lists_it(self) -> None:
        completion = outcome("confirms", minutes(2), fingerprint="report")

        assert is_part_of(sources(told("completed", 2)), completion, None)
        assert not is_part_of(sources(told("completed", 2, by="other")), completion, None)
        assert not is_part_of(sources(told("failed", 2)), completion, None)
        assert not is_part_of({}, completion, None)

    def test_no_essay_is_part_of_a_completion_with_failures(self) -> None:
        partly = outcome("partial", minutes(2), fingerprint="report")

        assert not is_part_of(sources(told("completed", 2)), partly, None)

    @pytest.mark.parametrize("at", [1, 2, 3])
    def test_what_took_the_essay_away_takes_it_out_of_earlier_completions(self, at: float) -> None:
        completion = outcome("confirms", minutes(2), fingerprint="report")
        listed = told("completed", 2)

        for setback in (told("failed", at, by="new"), own("failed", at), unreadable(at)):
            assert is_part_of(sources(listed, setback), completion, None) is (at < 2)
        assert is_part_of(sources(listed), completion, minutes(at)) is (at < 2)

    def test_what_an_earlier_version_kept_is_known_by_its_time(self) -> None:
        completion = outcome("reports", minutes(2), fingerprint="report")

        assert is_part_of({OBSERVED: own("completed", 2).evidence}, completion, None)
        assert not is_part_of({OBSERVED: own("completed", 1).evidence}, completion, None)
        assert not is_part_of({OBSERVED: own("failed", 2).evidence}, completion, None)
