"""When a step counts as complete: only where that is proven."""

from dataclasses import replace

import pytest

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.completeness import (
    Reason,
    StepProgress,
    essays_total,
    judge_step,
)
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchRegistration,
    EssayEvidence,
    PhaseOutcome,
    StepName,
)
from tests.support.builders import (
    essay_names,
    evidence,
    minutes,
    outcome,
    registration,
    update,
)
from tests.support.pipelines import DEPENDENCIES

SPELLCHECK = StepName("spellcheck")
Item = EssayEvidence | PhaseOutcome | BatchRegistration


def summary(*items: Item) -> BatchCompletionSummary:
    batch = BatchState(BatchId("batch"))
    batch.merge(update("batch", *items))
    return batch.summarise(DEPENDENCIES)


def judge(*items: Item, requested_total: int | None = None) -> StepProgress:
    return judge_step(summary(*items), SPELLCHECK, requested_total)


def done(count: int, at: float = 0) -> list[Item]:
    return [evidence(essay, at=minutes(at)) for essay in essay_names(count)]


def test_ten_of_ten_essays_complete_a_step() -> None:
    assert judge(registration(10), *done(10)).is_complete


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([registration(10)], Reason.NOT_STARTED),
        ([registration(10), *done(1)], Reason.INCOMPLETE),
        ([registration(10), *done(9)], Reason.INCOMPLETE),
        ([registration(10), *done(11)], Reason.INCOMPLETE),
        ([registration(0), *done(1)], Reason.INCOMPLETE),
        ([registration(10), evidence("essay-1", "pending")], Reason.INCOMPLETE),
        ([registration(10), *done(9), evidence("essay-10", "failed")], Reason.FAILED_ESSAYS),
        (done(10), Reason.TOTAL_UNKNOWN),
        ([outcome("confirms", total=9), *done(10)], Reason.INCOMPLETE),
    ],
)
def test_less_than_proof_runs_the_step(items: list[Item], reason: Reason) -> None:
    progress = judge(*items)

    assert progress.reason is reason
    assert not progress.is_complete
    assert progress.completed_at is None


def test_a_failed_essay_counts_even_when_enough_others_completed() -> None:
    assert judge(registration(10), *done(10), evidence("x", "failed")).reason is (
        Reason.FAILED_ESSAYS
    )


def test_with_the_total_unknown_a_successful_outcome_proves_completeness() -> None:
    progress = judge(outcome("confirms", minutes(3)))

    assert progress.is_complete
    assert progress.total is None
    assert progress.outcome == "status-confirms"
    assert progress.completed_at == minutes(3)


@pytest.mark.parametrize("status", ["completed", "pending"])
def test_with_the_total_unknown_an_essay_heard_of_later_reopens_the_step(status: str) -> None:
    progress = judge(outcome("confirms"), evidence("essay", status, minutes(1)))

    assert progress.reason is Reason.TOTAL_UNKNOWN


def test_an_essay_heard_of_before_the_outcome_does_not_reopen_the_step() -> None:
    assert judge(outcome("confirms", minutes(1)), evidence("essay")).is_complete


@pytest.mark.parametrize(
    ("newer", "reason"),
    [
        (outcome("refutes", minutes(5)), Reason.OUTCOME_NOT_SUCCESSFUL),
        (evidence("essay-1", "failed", minutes(5)), Reason.FAILED_ESSAYS),
        (evidence("essay-1", "failed", minutes(5), source="report"), Reason.FAILED_ESSAYS),
        (registration(11, minutes(5)), Reason.INCOMPLETE),
    ],
)
@pytest.mark.parametrize("proof", ["count", "outcome"])
def test_completeness_does_not_hold_against_newer_evidence(
    newer: Item, reason: Reason, proof: str
) -> None:
    items: list[Item] = [registration(10), *done(10)]
    if proof == "outcome":
        items.append(outcome("confirms", minutes(1), total=10))
    assert judge(*items).is_complete

    assert judge(*items, newer).reason is reason


def test_a_refutation_without_a_total_is_a_refutation() -> None:
    assert judge(outcome("refutes")).reason is Reason.OUTCOME_NOT_SUCCESSFUL


def test_an_outcome_older_than_the_essays_own_events_refutes_nothing() -> None:
    assert judge(registration(10), outcome("refutes"), *done(10, at=1)).is_complete


def test_a_refutation_at_the_time_of_the_last_event_holds() -> None:
    assert not judge(registration(10), outcome("refutes", minutes(1)), *done(10, at=1)).is_complete


def test_what_completed_before_a_refutation_has_to_complete_again() -> None:
    """A phase that failed critically and has redone one essay of ten is not complete."""
    known: list[Item] = [registration(10), *done(10), outcome("refutes", minutes(1))]
    redone = [evidence(essay, at=minutes(2)) for essay in essay_names(10)]

    one_of_ten = judge(*known, redone[0])

    assert (one_of_ten.reason, one_of_ten.completed) == (Reason.INCOMPLETE, 1)
    assert judge(*known, *redone).is_complete


def test_an_essay_at_work_is_missing_in_a_number_that_was_only_said() -> None:
    """A summary counts the nine that it compared; the tenth has only begun."""
    summed_up = outcome("reports", minutes(2), step="cj_assessment", total=9)

    progress = judge(*done(9), evidence("essay-10", "pending"), summed_up)

    assert (progress.reason, progress.total) == (Reason.INCOMPLETE, 9)


def test_a_later_success_does_not_revive_what_it_does_not_list() -> None:
    report = evidence("essay-1", at=minutes(2), source="success")
    success = outcome("confirms", minutes(2), fingerprint="success")

    progress = judge(registration(10), *done(10), outcome("refutes", minutes(1)), report, success)

    assert (progress.reason, progress.completed) == (Reason.INCOMPLETE, 1)


def test_after_a_partial_failure_only_the_failed_essay_has_to_complete_again() -> None:
    reported = [evidence(e, at=minutes(1), source="partial") for e in essay_names(9)]
    failed = evidence("essay-10", "failed", minutes(1), source="partial")
    known: list[Item] = [registration(10), *reported, failed, outcome("partial", minutes(1))]

    assert judge(*known).reason is Reason.FAILED_ESSAYS
    assert judge(*known, evidence("essay-10", at=minutes(2))).is_complete


def test_a_partial_summary_proves_nothing() -> None:
    partial = replace(summary(registration(1), *done(1)), is_whole=False)

    assert judge_step(partial, SPELLCHECK).reason is Reason.STATE_UNKNOWN


def test_completion_is_dated_by_its_newest_evidence() -> None:
    items: list[Item] = [registration(1), evidence("essay-1", at=minutes(1))]

    assert judge(*items).completed_at == minutes(1)
    assert judge(*items, outcome("confirms", minutes(4))).completed_at == minutes(4)


def test_completion_known_only_from_reports_has_no_date_of_its_own() -> None:
    assert judge(registration(1), evidence("essay-1", source="report")).completed_at is None


@pytest.mark.parametrize(
    ("registered", "reported", "requested", "total"),
    [
        (5, 7, 9, 5),
        (0, 7, 9, 0),
        (None, 7, 9, 9),
        (None, 9, 7, 9),
        (None, None, 3, 3),
        (None, 3, None, 3),
        (None, None, None, None),
        (None, None, 0, None),
    ],
)
def test_the_registered_total_counts_else_the_largest_anyone_said(
    registered: int | None, reported: int | None, requested: int | None, total: int | None
) -> None:
    known = BatchCompletionSummary(
        batch_id=BatchId("batch"), registered_total=registered, reported_total=reported
    )

    assert essays_total(known, requested) == total
