"""How two statements about the same thing become one, whichever is heard of first."""

from dataclasses import replace
from itertools import combinations, permutations

import pytest

from batch_conductor_service.domain.statements import (
    merge_evidence,
    merge_outcome,
    merge_registration,
)
from batch_conductor_service.models import OBSERVED, UNREADABLE, PhaseOutcome, StepEvidence
from tests.support.builders import evidence, minutes, outcome, registration


def said(status: str, at: float, storage_id: str | None = None) -> StepEvidence:
    return evidence("essay", status, minutes(at), storage_id=storage_id).evidence


def merged(source: str, *statements: StepEvidence) -> StepEvidence:
    """Return what is known after all of them, which must be the same in any order."""
    results = set()
    for order in permutations([*statements, statements[0]]):
        known = None
        for statement in order:
            known = merge_evidence(source, known, statement)
        results.add(known)
    [result] = results
    assert result is not None
    return result


@pytest.mark.parametrize(("old", "new"), [("failed", "completed"), ("completed", "failed")])
def test_of_what_an_essay_says_itself_the_latest_counts(old: str, new: str) -> None:
    assert merged(OBSERVED, said(old, 1), said(new, 2)) == said(new, 2)


@pytest.mark.parametrize("pair", [*combinations(["completed", "pending", "failed"], 2)])
def test_of_two_statements_at_one_time_the_one_that_runs_the_phase_counts(
    pair: tuple[str, str],
) -> None:
    trusting, doubting = pair

    assert merged(OBSERVED, said(trusting, 1), said(doubting, 1)) == said(doubting, 1)


def test_a_tie_in_all_else_falls_to_the_storage_id() -> None:
    one, other = said("completed", 1, "a"), said("completed", 1, "b")

    assert merged(OBSERVED, one, other, said("completed", 1)) == other


def test_of_copies_of_a_reported_success_the_earliest_counts() -> None:
    assert merged("report", said("completed", 2), said("completed", 1)) == said("completed", 1)


@pytest.mark.parametrize("status", ["failed", "pending"])
def test_of_copies_of_a_reported_failure_the_latest_counts(status: str) -> None:
    assert merged("report", said(status, 2), said(status, 1)) == said(status, 2)


def test_of_records_that_could_not_be_read_the_latest_counts() -> None:
    assert merged(UNREADABLE, said("pending", 1), said("pending", 2)) == said("pending", 2)


@pytest.mark.parametrize(
    ("verdict", "at"), [("confirms", 1), ("reports", 1), ("partial", 9), ("refutes", 9)]
)
def test_the_earliest_copy_of_a_success_counts_and_the_latest_of_anything_else(
    verdict: str, at: float
) -> None:
    copies = [outcome(verdict, minutes(time)) for time in (5, 1, 9)]

    for first, second, third in permutations(copies):
        known: PhaseOutcome = merge_outcome(
            merge_outcome(merge_outcome(None, first), second), third
        )
        assert known == outcome(verdict, minutes(at))


def test_a_registration_keeps_the_times_of_its_first_and_its_last_copy() -> None:
    first, last = registration(3, minutes(1)), registration(3, minutes(9))
    both = replace(first, repeated_at=minutes(9))

    assert merge_registration(None, first) == first
    assert merge_registration(first, last) == merge_registration(last, first) == both
    assert merge_registration(both, registration(3, minutes(5))) == both
