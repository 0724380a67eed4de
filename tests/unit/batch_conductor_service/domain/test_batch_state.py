import pytest

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.models import (
    OWN_PREFIX,
    UNREADABLE,
    BatchCompletionSummary,
    BatchId,
    BatchRegistration,
    EssayEvidence,
    EssayId,
    PhaseOutcome,
    StepCompletionSummary,
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


def state(*items: EssayEvidence | PhaseOutcome | BatchRegistration) -> BatchState:
    batch = BatchState(BatchId("batch"))
    for item in items:
        batch.merge(update("batch", item))
    return batch


def spellcheck(*items: EssayEvidence | PhaseOutcome | BatchRegistration) -> StepCompletionSummary:
    return state(*items).summarise(DEPENDENCIES).steps[SPELLCHECK]


def test_of_a_batch_nobody_has_heard_of_nothing_is_known() -> None:
    assert state().summarise(DEPENDENCIES) == BatchCompletionSummary(batch_id=BatchId("batch"))
    assert state().essays() == []


def test_completed_and_failed_essays_are_counted_apart() -> None:
    summary = spellcheck(
        evidence("a"), evidence("b"), evidence("c", "failed"), evidence("d", "pending")
    )

    assert (summary.completed, summary.failed) == (2, 1)


def test_an_essay_is_counted_once_however_often_it_is_heard_of() -> None:
    assert spellcheck(*[evidence("a", at=minutes(n)) for n in range(5)]).completed == 1


def test_a_stranger_does_not_count_in_a_batch_whose_essays_are_named() -> None:
    summary = spellcheck(
        registration(2, essays=["a", "b"]), evidence("a"), evidence("other", at=minutes(9))
    )

    assert summary.completed == 1
    assert summary.last_observed_at == minutes(0)


def test_a_step_that_only_strangers_went_through_is_listed_without_counts() -> None:
    summary = state(registration(1, essays=["a"]), evidence("other")).summarise(DEPENDENCIES)

    assert summary.steps == {SPELLCHECK: StepCompletionSummary()}


def test_the_latest_registration_counts_and_of_two_at_once_the_larger() -> None:
    small, large = registration(3, minutes(1)), registration(4, minutes(1))

    assert state(large, small).summarise(DEPENDENCIES).registered_total == 4
    assert state(large, registration(2, minutes(2))).summarise(DEPENDENCIES).registered_total == 2


def test_a_registration_sent_again_is_not_newer() -> None:
    first, second = registration(3, minutes(1)), registration(5, minutes(2))

    summary = state(first, second, registration(3, minutes(9))).summarise(DEPENDENCIES)

    assert summary.registered_total == 5


@pytest.mark.parametrize(
    ("totals", "in_force"),
    [
        ([10, 8], 8),
        ([10, 8, 10], 10),
        ([8, 10, 8], 10),
        ([10, 8, 9, 10], 10),
        ([10, 8, 9, 8], 9),
    ],
)
def test_of_registrations_in_the_same_words_the_earliest_is_in_force_and_a_larger_one_since_counts(
    totals: list[int], in_force: int
) -> None:
    said = [registration(total, minutes(n)) for n, total in enumerate(totals)]

    for order in (said, said[::-1]):
        assert state(*order).summarise(DEPENDENCIES).registered_total == in_force


def test_of_a_registration_that_could_not_be_read_nothing_counts() -> None:
    unreadable = registration(0, minutes(5), fingerprint=UNREADABLE)

    assert state(unreadable).summarise(DEPENDENCIES).registered_total is None
    summary = state(registration(2, essays=["a", "b"]), unreadable).summarise(DEPENDENCIES)
    assert (summary.registered_total, summary.names_essays) == (2, True)


@pytest.mark.parametrize(("read_at", "is_lifted"), [(4, False), (5, False), (6, True)])
def test_a_registration_read_later_replaces_one_that_could_not_be(
    read_at: float, *, is_lifted: bool
) -> None:
    unreadable = registration(0, minutes(5), fingerprint=UNREADABLE)

    summary = state(unreadable, registration(2, minutes(read_at))).summarise(DEPENDENCIES)

    assert summary.unreadable_at == (None if is_lifted else minutes(5))


def test_two_registrations_at_once_name_what_both_of_them_name() -> None:
    one = registration(2, essays=["a", "b"])
    other = registration(3, essays=["b", "c", "d"])

    assert state(one, other).members() == frozenset([EssayId("b")])
    assert state(one, registration(9)).members() == frozenset()
    assert state(registration(8), registration(9)).members() is None
    assert state(one, registration(9, minutes(1))).members() is None


def test_only_what_was_reported_since_the_registration_in_force_counts() -> None:
    known = [outcome(total=9, at=minutes(1)), outcome(total=7, at=minutes(2), step="nlp")]

    for at, total in ((0, 9), (1, 9), (2, 7), (3, None)):
        summary = state(*known, registration(5, minutes(at))).summarise(DEPENDENCIES)
        assert (summary.registered_total, summary.reported_total) == (5, total)


def test_the_largest_reported_total_is_kept() -> None:
    items = [outcome(total=n, step=f"step-{n}") for n in (3, 7, 5)]

    assert state(*items).summarise(DEPENDENCIES).reported_total == 7
    assert state(outcome(total=0)).summarise(DEPENDENCIES).reported_total is None


def test_the_latest_outcome_counts_and_of_two_at_once_the_one_that_refutes() -> None:
    success, failure = outcome("confirms", minutes(1)), outcome("refutes", minutes(1))

    assert spellcheck(failure, success).outcome == failure
    assert spellcheck(failure, outcome("confirms", minutes(2))).outcome != failure


def test_an_outcome_that_only_reports_totals_is_no_verdict() -> None:
    success = outcome("confirms", minutes(1))

    assert spellcheck(success, outcome("reports", minutes(2), total=3)).outcome == success


def test_the_latest_refutation_and_the_latest_unreadable_record_take_completions_away() -> None:
    summary = spellcheck(
        outcome("refutes", minutes(1), fingerprint="one"),
        outcome("refutes", minutes(3), fingerprint="two"),
        outcome("partial", minutes(9)),
        outcome("refutes", minutes(5), fingerprint=UNREADABLE),
        outcome("refutes", minutes(4), fingerprint=OWN_PREFIX + UNREADABLE),
    )

    assert (summary.refuted_at, summary.unreadable_at) == (minutes(3), minutes(5))
    assert summary.needs_own
    assert not spellcheck(outcome("refutes", fingerprint=UNREADABLE)).needs_own


def test_an_unreadable_record_is_no_outcome() -> None:
    summary = spellcheck(outcome("refutes", fingerprint=UNREADABLE))

    assert (summary.outcome, summary.refuted_at) == (None, None)


def test_a_step_is_confirmed_by_the_latest_of_what_others_than_its_service_say() -> None:
    success, own = outcome(at=minutes(1)), outcome("refutes", minutes(2), fingerprint="own:1")

    assert spellcheck(success).is_confirmed
    assert spellcheck(success, own).is_confirmed
    assert not spellcheck(outcome(fingerprint="own:1")).is_confirmed
    assert not spellcheck(success, outcome("partial", minutes(2))).is_confirmed
    assert not spellcheck(success, outcome("refutes", minutes(1))).is_confirmed


class TestCompletionsOfTheWholeBatch:
    """Which of them must cover every essay."""

    def binding(self, *items: PhaseOutcome) -> list[str]:
        steps = state(*items).summarise(DEPENDENCIES).steps
        return [one.fingerprint for one in steps[StepName("cj_assessment")].completions]

    def said(self, fingerprint: str, at: float, verdict: str = "confirms") -> PhaseOutcome:
        return outcome(verdict, minutes(at), step="cj_assessment", total=2, fingerprint=fingerprint)

    def test_other_steps_have_none(self) -> None:
        assert spellcheck(outcome(total=2)).completions == ()

    def test_the_latest_that_the_service_itself_tells_of_comes_first(self) -> None:
        first, second = self.said("own:1", 1), self.said("own:2", 2)

        assert self.binding(second, first) == ["own:2"]
        assert self.binding(self.said("els", 9), first, second) == ["own:2", "els"]
        assert self.binding(self.said("els", 1), first, second) == ["own:2"]

    def test_where_the_service_is_silent_the_latest_that_is_reported(self) -> None:
        assert self.binding(self.said("a", 1), self.said("b", 2)) == ["b"]
        assert self.binding(self.said("a", 1), self.said("b", 1)) == ["a", "b"]

    def test_what_completed_with_failures_since_is_one_of_them(self) -> None:
        own, partly = self.said("own:1", 1), self.said("els", 2, "partial")

        assert self.binding(own, partly) == ["own:1", "els"]
        assert self.binding(own, self.said("els", 0, "partial")) == ["own:1"]

    @pytest.mark.parametrize("verdict", ["partial", "refutes"])
    def test_there_is_none_where_the_service_s_last_word_is_no_success(self, verdict: str) -> None:
        failed = self.said("own:2", 2, verdict)

        assert self.binding(self.said("own:1", 1), failed) == []
        assert self.binding(self.said("own:1", 2), failed) == []
        assert self.binding(failed, self.said("els", 3)) == []
        assert self.binding(failed, self.said("own:3", 3)) == ["own:3"]

    def test_the_success_of_nothing_is_none(self) -> None:
        nothing = outcome("reports", step="cj_assessment", total=0)

        assert self.binding(nothing) == []

    def test_what_an_earlier_version_held_for_a_report_of_a_number_is_one(self) -> None:
        assert self.binding(self.said("kept", 1, "reports")) == ["kept"]


def test_only_an_essays_own_event_is_an_observation() -> None:
    summary = spellcheck(
        evidence("a", at=minutes(1)), evidence("b", at=minutes(5), source="report")
    )

    assert summary.completed == 2
    assert summary.last_observed_at == minutes(1)


def test_essays_come_by_id_with_all_their_evidence() -> None:
    essays = state(evidence("b"), evidence("a"), evidence("a", step="nlp")).essays()

    assert [essay.essay_id for essay in essays] == ["a", "b"]
    assert set(essays[0].steps) == {"spellcheck", "nlp"}


def test_a_batch_is_copied_by_merging_its_evidence() -> None:
    original = state(
        registration(3, essays=essay_names(3)),
        evidence("essay-1", storage_id="text"),
        evidence("essay-1", "failed", minutes(2), source="report"),
        outcome("refutes", minutes(2), total=3),
    )

    copy = BatchState(original.batch_id)
    copy.merge(original.as_update())

    assert copy.summarise(DEPENDENCIES) == original.summarise(DEPENDENCIES)
    assert copy.essays() == original.essays()
