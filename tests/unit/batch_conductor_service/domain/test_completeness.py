"""When a step counts as complete: only where that is proven."""

from dataclasses import replace

import pytest

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.resolution import StepProgress, essays_total, judge_step
from batch_conductor_service.models import (
    UNREADABLE,
    BatchCompletionSummary,
    BatchId,
    BatchRegistration,
    EssayEvidence,
    PhaseOutcome,
    StepName,
)
from common_core.verdicts import Reason
from tests.support.builders import (
    essay_names,
    evidence,
    minutes,
    outcome,
    registration,
    reported,
    update,
)
from tests.support.pipelines import DEPENDENCIES

SPELLCHECK = StepName("spellcheck")
Item = EssayEvidence | PhaseOutcome | BatchRegistration
TEN = essay_names(10)


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
        ([registration(10, essays=TEN[:5]), *done(10)], Reason.INCOMPLETE),
        ([registration(0)], Reason.NOT_STARTED),
        ([registration(0), *done(1)], Reason.INCOMPLETE),
        ([registration(0), outcome("refutes")], Reason.OUTCOME_NOT_SUCCESSFUL),
        ([registration(10), evidence("essay-1", "pending")], Reason.INCOMPLETE),
        ([registration(10), *done(9), evidence("essay-10", "failed")], Reason.FAILED_ESSAYS),
        (done(10), Reason.TOTAL_UNKNOWN),
    ],
)
def test_less_than_proof_runs_the_step(items: list[Item], reason: Reason) -> None:
    progress = judge(*items)

    assert progress.reason is reason
    assert not progress.is_complete
    assert progress.completed_at is None


def test_nothing_of_nothing_is_not_complete() -> None:
    """A step that has begun, but in no essay that counts."""
    known: list[Item] = [
        registration(0),
        outcome("refutes", minutes(-1)),
        evidence("a", step="nlp"),
    ]

    assert not judge(*known).is_complete
    assert not judge(registration(0), *reported((), verdict="reports")).is_complete


def test_a_failed_essay_counts_even_when_enough_others_completed() -> None:
    assert judge(registration(10), *done(10), evidence("x", "failed")).reason is (
        Reason.FAILED_ESSAYS
    )


def test_more_essays_than_the_number_says_make_the_number_unsure() -> None:
    """In whatever step they were heard of, and whatever was heard of them."""
    known: list[Item] = [registration(10), *done(10)]

    for status in ("completed", "pending", "failed"):
        other = evidence("other", status, step="nlp")
        assert judge(*known, other).reason is Reason.INCOMPLETE
        assert judge(registration(10, essays=TEN), *done(10), other).is_complete


class TestTotalUnknown:
    def test_a_success_that_names_every_known_essay_proves_completeness(self) -> None:
        progress = judge(*reported(TEN, minutes(3)))

        assert progress.is_complete
        assert (progress.completed, progress.total) == (10, 10)
        assert progress.outcome == "status-confirms"
        assert progress.completed_at == minutes(3)

    def test_a_success_that_names_nobody_proves_nothing(self) -> None:
        assert judge(outcome("reports")).reason is Reason.NOT_STARTED
        assert judge(outcome("reports"), *done(10)).reason is Reason.TOTAL_UNKNOWN
        assert judge(outcome("confirms", total=9), *done(10)).reason is Reason.TOTAL_UNKNOWN

    @pytest.mark.parametrize("status", ["completed", "pending"])
    @pytest.mark.parametrize("step", ["spellcheck", "nlp"])
    @pytest.mark.parametrize("at", [0, 9])
    def test_an_essay_that_it_does_not_name_makes_the_number_unknown(
        self, status: str, step: str, at: float
    ) -> None:
        other = evidence("other", status, minutes(at), step=step)

        assert judge(*reported(TEN, minutes(3)), other).reason is Reason.TOTAL_UNKNOWN

    def test_the_success_of_the_service_itself_is_not_enough(self) -> None:
        """It compares the essays that it was given; the orchestrator knows which there are."""
        compared = reported(TEN, fingerprint="own:1", step="cj_assessment")
        told = reported(TEN, minutes(1), fingerprint="els", step="cj_assessment")

        for items, reason in (
            (compared, Reason.TOTAL_UNKNOWN),
            (told, Reason.ALREADY_COMPLETED),
            ((*compared, *told), Reason.ALREADY_COMPLETED),
        ):
            assert judge_step(summary(*items), StepName("cj_assessment")).reason is reason

    def test_a_larger_number_of_another_outcome_is_not_reached(self) -> None:
        larger = outcome("confirms", step="nlp", total=11)

        assert judge(*reported(TEN), larger).reason is Reason.TOTAL_UNKNOWN

    def test_of_two_outcomes_the_latest_must_be_the_success(self) -> None:
        success, failure = reported(TEN, minutes(1)), outcome("partial", minutes(2), total=10)

        assert judge(*success, failure).reason is Reason.OUTCOME_NOT_SUCCESSFUL


@pytest.mark.parametrize(
    ("newer", "reason"),
    [
        (outcome("refutes", minutes(5)), Reason.OUTCOME_NOT_SUCCESSFUL),
        (evidence("essay-1", "failed", minutes(5)), Reason.FAILED_ESSAYS),
        (evidence("essay-1", "failed", minutes(5), source="report"), Reason.FAILED_ESSAYS),
        (evidence("essay-1", "pending", minutes(5)), Reason.INCOMPLETE),
        (evidence("essay-1", "pending", minutes(5), source=UNREADABLE), Reason.UNREADABLE_EVENT),
        (outcome("refutes", minutes(5), fingerprint=UNREADABLE), Reason.UNREADABLE_EVENT),
        (registration(0, minutes(5), fingerprint=UNREADABLE), Reason.UNREADABLE_EVENT),
        (registration(11, minutes(5)), Reason.INCOMPLETE),
        (outcome("reports", minutes(5), step="nlp", total=11), Reason.INCOMPLETE),
    ],
)
@pytest.mark.parametrize("proof", ["count", "outcome"])
def test_completeness_does_not_hold_against_newer_evidence(
    newer: Item, reason: Reason, proof: str
) -> None:
    items: list[Item] = [registration(10), *done(10)]
    if proof == "outcome":
        items.extend(reported(TEN, minutes(1)))
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
    redone = done(10, at=2)

    one_of_ten = judge(*known, redone[0])

    assert (one_of_ten.reason, one_of_ten.completed) == (Reason.INCOMPLETE, 1)
    assert judge(*known, *redone).is_complete


@pytest.mark.parametrize(
    "unreadable",
    [
        outcome("refutes", minutes(1), fingerprint=UNREADABLE),
        registration(0, minutes(1), fingerprint=UNREADABLE),
    ],
)
def test_what_completed_before_an_unreadable_record_has_to_complete_again(
    unreadable: Item,
) -> None:
    known: list[Item] = [registration(10), *done(10), unreadable]
    redone = done(10, at=2)

    assert judge(*known, *redone[:9]).completed == 9
    assert not judge(*known, *redone[:9]).is_complete
    assert judge(*known, *redone).is_complete


def test_a_registration_read_since_replaces_one_that_could_not_be() -> None:
    unreadable = registration(0, minutes(1), fingerprint=UNREADABLE)
    known: list[Item] = [registration(10), *done(10), unreadable]

    assert judge(*known, registration(10, minutes(2), fingerprint="new")).is_complete


def test_a_later_success_does_not_revive_what_it_does_not_list() -> None:
    known: list[Item] = [registration(10), *done(10), outcome("refutes", minutes(1))]

    progress = judge(*known, *reported(["other"], minutes(2)))
    assert (progress.reason, progress.completed) == (Reason.INCOMPLETE, 1)

    redone = [evidence("essay-1", at=minutes(2)), *reported(["essay-1"], minutes(2))]
    progress = judge(*known, *redone)
    assert (progress.reason, progress.completed) == (Reason.INCOMPLETE, 1)


def test_after_a_partial_failure_only_the_failed_essay_has_to_complete_again() -> None:
    known: list[Item] = [registration(10), *reported(TEN[:9], minutes(1), failed=TEN[9:])]

    assert judge(*known).reason is Reason.FAILED_ESSAYS
    assert judge(*known, *reported(TEN[9:], minutes(2))).is_complete


def test_a_partial_summary_proves_nothing() -> None:
    partial = replace(summary(registration(1), *done(1)), is_whole=False)

    assert judge_step(partial, SPELLCHECK).reason is Reason.STATE_UNKNOWN


def test_completion_is_dated_by_the_last_essay_that_completed() -> None:
    items: list[Item] = [registration(2), *done(1, at=1), evidence("essay-2", at=minutes(2))]

    assert judge(*items).completed_at == minutes(2)
    assert judge(*items, *reported(TEN[:2], minutes(4))).completed_at == minutes(2)
    assert judge(registration(2), *reported(TEN[:2], minutes(4))).completed_at == minutes(4)


@pytest.mark.parametrize(
    ("registered", "reported_total", "requested", "total"),
    [
        (5, 7, 9, 9),
        (9, 7, 5, 9),
        (5, 9, 7, 9),
        (5, None, None, 5),
        (0, None, None, 0),
        (None, 7, 9, 9),
        (None, 9, 7, 9),
        (None, None, 3, 3),
        (None, 3, None, None),
        (None, None, None, None),
        (None, None, 0, 0),
    ],
)
def test_the_largest_number_counts_but_for_one_that_only_outcomes_say(
    registered: int | None,
    reported_total: int | None,
    requested: int | None,
    total: int | None,
) -> None:
    known = BatchCompletionSummary(
        batch_id=BatchId("batch"), registered_total=registered, reported_total=reported_total
    )

    assert essays_total(known, requested) == total


class TestPrerequisites:
    """What was made from something older does not count."""

    NLP = StepName("nlp")

    def judge(self, *items: Item) -> Reason:
        known = summary(registration(2), *items)
        return judge_step(known, self.NLP, depends_on=[SPELLCHECK]).reason

    def test_a_result_as_old_as_what_it_was_made_from_counts(self) -> None:
        both = [*done(2, at=1), *(evidence(e, at=minutes(1), step="nlp") for e in TEN[:2])]

        assert self.judge(*both) is Reason.ALREADY_COMPLETED

    def test_one_essay_that_completed_again_since_is_enough(self) -> None:
        made = [evidence(e, at=minutes(1), step="nlp") for e in TEN[:2]]
        later = evidence("essay-1", at=minutes(2), step="nlp")
        newer: list[Item] = [*done(1, at=0), evidence("essay-2", at=minutes(2))]

        assert self.judge(*made, *newer) is Reason.PREREQUISITE_NEWER
        assert self.judge(later, made[1], *newer) is Reason.PREREQUISITE_NEWER
        assert self.judge(made[0], replace_essay(later, "essay-2"), *newer) is (
            Reason.ALREADY_COMPLETED
        )


def replace_essay(item: EssayEvidence, essay: str) -> EssayEvidence:
    return evidence(essay, at=item.evidence.occurred_at, step=item.step)


class TestStepsOverTheWholeBatch:
    """One completion must cover every essay that counts."""

    def judge(self, *items: Item, total: int = 4) -> StepProgress:
        checked = [evidence(essay) for essay in TEN[:total]]
        known = summary(registration(total, essays=TEN[:total]), *checked, *items)
        return judge_step(known, StepName("cj_assessment"), depends_on=[SPELLCHECK])

    def compare(
        self, essays: tuple[str, ...], at: float = 1, *, by: str = "own:"
    ) -> tuple[Item, ...]:
        """Return a comparison of the essays, told by its service unless `by` says otherwise."""
        fingerprint = f"{by}{at}-{len(essays)}-{essays[0]}"
        return reported(essays, minutes(at), step="cj_assessment", fingerprint=fingerprint)

    def test_one_that_covers_them_all_completes_the_step(self) -> None:
        progress = self.judge(*self.compare(TEN[:4]))

        assert (progress.is_complete, progress.completed) == (True, 4)

    def test_one_that_covers_more_completes_the_step(self) -> None:
        more = [*TEN[:4], "other"]
        progress = self.judge(*self.compare(tuple(more)))

        # The number that it tells is the number of essays, so it takes a registration of it.
        assert progress.reason is Reason.INCOMPLETE
        assert judge_step(
            summary(registration(4, minutes(2), essays=TEN[:4]), *self.compare(tuple(more))),
            StepName("cj_assessment"),
        ).is_complete

    def test_two_halves_do_not(self) -> None:
        progress = self.judge(*self.compare(TEN[:2], 1), *self.compare(TEN[2:4], 2))

        assert (progress.reason, progress.completed) == (Reason.INCOMPLETE, 2)

    def test_a_later_one_over_a_part_takes_the_place_of_one_over_all(self) -> None:
        progress = self.judge(*self.compare(TEN[:4], 1), *self.compare(TEN[:3], 2))

        assert (progress.reason, progress.completed) == (Reason.INCOMPLETE, 3)

    def test_of_two_at_one_time_the_one_over_fewer_essays_counts(self) -> None:
        for order in (1, -1):
            both = [self.compare(TEN[:4]), self.compare(TEN[:3])][::order]
            assert self.judge(*both[0], *both[1]).reason is Reason.INCOMPLETE

    def test_who_else_tells_of_it_must_cover_every_essay_too(self) -> None:
        own = self.compare(TEN[:4], 1)

        assert self.judge(*own, *self.compare(TEN[:4], 2, by="els-")).is_complete
        assert not self.judge(*own, *self.compare(TEN[:3], 2, by="els-")).is_complete

    def test_who_else_tells_of_it_does_not_move_its_time(self) -> None:
        """Spellcheck was run again between the comparison and the outcome that tells of it."""
        own, told = self.compare(TEN[:4], 1), self.compare(TEN[:4], 3, by="els-")
        again = evidence("essay-1", at=minutes(2))

        assert self.judge(*told, again).is_complete
        assert self.judge(*own, *told, again).reason is Reason.PREREQUISITE_NEWER
        assert self.judge(*own, *told, again, *self.compare(TEN[:4], 4)).is_complete

    def test_it_must_be_no_older_than_any_essay(self) -> None:
        at_once, later = evidence("essay-4", at=minutes(1)), evidence("essay-4", at=minutes(2))
        compared = self.compare(TEN[:4], 1)

        assert self.judge(*compared, at_once).is_complete
        assert self.judge(*compared, later).reason is Reason.PREREQUISITE_NEWER
