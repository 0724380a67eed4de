from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchRegistration,
    EssayEvidence,
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
        registration(2, essays=["a", "b"]), evidence("a"), evidence("stranger", at=minutes(9))
    )

    assert summary.completed == 1
    assert summary.last_observed_at == minutes(0)


def test_a_step_that_only_strangers_went_through_is_listed_without_counts() -> None:
    summary = state(registration(1, essays=["a"]), evidence("stranger")).summarise(DEPENDENCIES)

    assert summary.steps == {SPELLCHECK: StepCompletionSummary()}


def test_the_latest_registration_counts_and_of_two_at_once_the_larger() -> None:
    small, large = registration(3, minutes(1)), registration(4, minutes(1))

    assert state(large, small).summarise(DEPENDENCIES).registered_total == 4
    assert state(large, registration(2, minutes(2))).summarise(DEPENDENCIES).registered_total == 2


def test_a_registration_sent_again_is_not_newer() -> None:
    first, second = registration(3, minutes(1)), registration(5, minutes(2))

    summary = state(first, second, registration(3, minutes(9))).summarise(DEPENDENCIES)

    assert summary.registered_total == 5


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
