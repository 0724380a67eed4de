from dataclasses import replace
from functools import partial

import pytest

from batch_conductor_service.domain import drift
from batch_conductor_service.domain.drift import (
    ArchivedBatch,
    BatchComparison,
    CachedBatch,
    Place,
    merged,
)
from batch_conductor_service.domain.drift_texts import StepCounts
from batch_conductor_service.models import BatchId, BatchUpdate, StepName
from tests.support.auditing import archived, cached
from tests.support.builders import DAY, evidence, minutes, outcome, registration, update
from tests.support.pipelines import DEPENDENCIES

BATCH = BatchId("batch")
SPELLCHECK = StepName("spellcheck")
EVERYTHING = update(
    "batch",
    registration(2, essays=["e1", "e2"]),
    evidence("e1", storage_id="text-1"),
    evidence("e2", source="reported"),
    outcome("refutes", minutes(-5)),
)
NOTHING = update("batch")

compare = partial(drift.compare, BATCH, dependencies=DEPENDENCIES)


def wrong(comparison: BatchComparison) -> set[tuple[Place, str, Place]]:
    return {(d.place, d.subject, d.known_by) for d in comparison.differences}


def test_sides_that_know_the_same_do_not_differ() -> None:
    comparison = compare(cached(EVERYTHING), archived(EVERYTHING))

    assert comparison.differences == ()
    assert comparison.missing == NOTHING
    assert comparison.is_known


def test_a_batch_that_redis_has_forgotten_whole_does_not_differ() -> None:
    comparison = compare(None, archived(EVERYTHING))

    assert comparison.differences == ()
    assert not comparison.is_cached
    assert comparison.is_known


def test_a_batch_that_redis_holds_in_doubt_differs_only_in_what_postgres_lacks() -> None:
    known = update("batch", evidence("e1"))
    redis = replace(cached(known, "lost"), is_current=False)

    assert compare(redis, archived(EVERYTHING), [known]).differences == ()
    assert {p for p, _, _ in wrong(compare(redis, archived(NOTHING)))} == {Place.POSTGRES}


def test_a_batch_that_nobody_knows_is_told_as_such() -> None:
    assert not compare(None, archived(NOTHING)).is_known


@pytest.mark.parametrize(
    ("lost", "subject"),
    [
        (evidence("e3"), "spellcheck of e3, own event"),
        (evidence("e3", source="r1"), "spellcheck of e3, reported by r1"),
        (outcome("confirms", fingerprint="o1"), "outcome of spellcheck, o1"),
        (registration(3, fingerprint="r1"), "registration, r1"),
    ],
)
def test_what_only_one_side_knows_is_missing_on_the_other(lost: object, subject: str) -> None:
    full = update("batch", lost)  # type: ignore[arg-type] # one of the three, by the parameters

    in_redis_only = compare(cached(full), archived(NOTHING))
    in_postgres_only = compare(cached(NOTHING), archived(full))

    assert (Place.POSTGRES, subject, Place.REDIS) in wrong(in_redis_only)
    assert (Place.REDIS, subject, Place.POSTGRES) in wrong(in_postgres_only)
    assert in_redis_only.missing == in_postgres_only.missing == full


def test_of_two_statements_the_one_that_wins_the_merge_is_right() -> None:
    earlier = update("batch", evidence("e1", "completed", minutes(0)))
    later = update("batch", evidence("e1", "failed", minutes(1)))

    comparison = compare(cached(earlier), archived(later))

    [difference] = [d for d in comparison.differences if "own event" in d.subject]
    assert difference.place is Place.REDIS
    assert difference.says == f"completed at {DAY}T12:00:00Z"
    assert difference.right == f"failed at {DAY}T12:01:00Z"
    assert comparison.missing == later


def test_what_is_queued_is_not_missing_in_postgres() -> None:
    comparison = compare(cached(EVERYTHING), archived(NOTHING), [EVERYTHING])

    assert comparison.differences == ()


def test_what_only_the_queue_knows_is_missing_in_redis() -> None:
    comparison = compare(cached(NOTHING), archived(NOTHING), [EVERYTHING])

    assert (Place.REDIS, "spellcheck of e1, own event", Place.QUEUE) in wrong(comparison)
    assert {place for place, _, _ in wrong(comparison)} == {Place.REDIS}


def test_counts_that_do_not_follow_from_the_evidence_are_wrong() -> None:
    """The false green: Redis answers from its counts."""
    state = merged(BATCH, EVERYTHING)
    lying = state.summarise(DEPENDENCIES)
    step = replace(lying.steps[SPELLCHECK], completed=9)
    redis = CachedBatch(state=state, summary=replace(lying, steps={SPELLCHECK: step}))

    comparison = compare(redis, archived(EVERYTHING))

    assert wrong(comparison) == {(Place.REDIS, "counts of spellcheck", Place.EVIDENCE)}
    assert comparison.missing == NOTHING


def test_a_wrong_number_of_essays_is_told() -> None:
    state = merged(BATCH, EVERYTHING)
    redis = CachedBatch(
        state=state, summary=replace(state.summarise(DEPENDENCIES), registered_total=1)
    )

    [difference] = compare(redis, archived(EVERYTHING)).differences

    assert difference.subject == "number of essays"
    assert (difference.says, difference.right) == (
        "1 registered, None reported, 2 known, only named count, unreadable at -",
        "2 registered, None reported, 2 known, only named count, unreadable at -",
    )


def test_rows_of_counts_that_do_not_follow_from_the_evidence_are_wrong() -> None:
    strange = StepCounts(completed=7, failed=0, essays_total=None, last_observed_at=None)
    postgres = ArchivedBatch(state=merged(BATCH, EVERYTHING), counts={StepName("nlp"): strange})

    comparison = compare(cached(EVERYTHING), postgres)

    assert wrong(comparison) == {
        (Place.POSTGRES, "counts of nlp", Place.EVIDENCE),
        (Place.POSTGRES, "counts of spellcheck", Place.EVIDENCE),
    }
    assert {d.says for d in comparison.differences} == {
        None,
        "7 completed, 0 failed of None, last at -",
    }


def test_faults_of_redis_are_told_and_counts_it_does_not_believe_are_not() -> None:
    redis = CachedBatch(state=merged(BATCH, EVERYTHING), summary=None, faults=("not marked whole",))

    [difference] = compare(redis, archived(EVERYTHING)).differences

    assert (difference.subject, difference.says) == ("integrity", "not marked whole")


def test_without_postgres_redis_is_compared_with_itself() -> None:
    assert compare(cached(EVERYTHING), None).differences == ()
    assert compare(cached(EVERYTHING, "lost"), None).differences != ()


def test_merging_what_is_missing_into_both_sides_mends_both() -> None:
    one = update("batch", evidence("e1"), evidence("e2", "failed", minutes(2)))
    other = update("batch", evidence("e2"), evidence("e3"), outcome("confirms"))
    missing = compare(cached(one), archived(other)).missing

    mended = [merged(BATCH, side, missing).as_update() for side in (one, other)]

    assert compare(cached(mended[0]), archived(mended[1])).differences == ()


def test_an_empty_update_is_nothing() -> None:
    assert merged(BATCH, NOTHING).as_update() == BatchUpdate(batch_id=BATCH)
