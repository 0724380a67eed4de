"""The histories reach every rule: an oracle that lacks one judges some of them otherwise."""

from collections.abc import Iterator, Sequence
from functools import cache
from random import Random
from typing import Any

import pytest

from tests.support.oracle import comparison, evidence, judge
from tests.support.oracle.evidence import Evidence
from tests.support.oracle.histories import GRAPH, History, make_history
from tests.support.oracle.judge import _Judge
from tests.support.oracle.statements import Statement
from tests.support.oracle.times import TOLERANCE, Clocks

HISTORIES = 4000


@cache
def made() -> list[History]:
    return [make_history(Random(seed)) for seed in range(HISTORIES)]


def verdicts() -> Iterator[list[bool]]:
    for each in made():
        told = judge.judge(each.records, each.batch, GRAPH, each.essays_total)
        yield [verdict.may_skip for verdict in told.values()]


@cache
def right_verdicts() -> list[list[bool]]:
    return list(verdicts())


def latest_of_copies(statements: Sequence[Statement]) -> dict[str, int]:
    times: dict[str, int] = {}
    for each in statements:
        times[each.words] = max(each.said, times.get(each.words, each.said))
    return times


def nothing(*_: object) -> list[object]:
    return []


def earliest_failures(self: Evidence, step: str, essay: str) -> list[int]:
    times: dict[str, int] = {}
    for each in self.of_phase(step):
        if essay in each.failed:
            moment = each.clocks.bound(each.said)
            times[each.words] = min(moment, times.get(each.words, moment))
    return list(times.values())


@pytest.mark.parametrize(
    ("owner", "name", "lacking"),
    [
        (Clocks, "bound_by_record", Clocks.bound),
        (Clocks, "bound", Clocks.bound_by_record),
        (Clocks, "_bound", lambda _, said, latest: min(said, latest + TOLERANCE)),
        (Clocks, "_bound", lambda self, said, _: max(said, self.record - TOLERANCE)),
        (Clocks, "believes", lambda self, said: said <= self.record + TOLERANCE),
        (Clocks, "believes", lambda self, said: said <= self.ours + TOLERANCE),
        (Evidence, "_own_doubts", nothing),
        (Evidence, "doubts", nothing),
        (Evidence, "_is_registered_after", lambda *_: False),
        (Evidence, "_is_registered_after", lambda *_: True),
        (Evidence, "disbelieved", nothing),
        (Evidence, "refutations", nothing),
        (Evidence, "failures", nothing),
        (Evidence, "failures", earliest_failures),
        (Evidence, "sizes", nothing),
        (Evidence, "is_proven", lambda *_: True),
        (evidence, "earliest_of_copies", latest_of_copies),
        (comparison, "earliest_of_copies", latest_of_copies),
        (comparison, "_narrowed", lambda latest, _: latest),
        (comparison, "_doubts_of_events", nothing),
        (comparison, "_told_by_outcomes", nothing),
        (_Judge, "_is_newer", lambda *_: False),
    ],
)
def test_without_a_rule_some_history_is_judged_otherwise(
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,  # noqa: ANN401  # a module or a class
    name: str,
    lacking: object,
) -> None:
    right = right_verdicts()
    monkeypatch.setattr(owner, name, lacking)

    assert any(wrong != known for wrong, known in zip(verdicts(), right, strict=True))


def test_about_as_much_may_be_skipped_as_not() -> None:
    skippable = [may_skip for told in right_verdicts() for may_skip in told]

    assert 0.2 < sum(skippable) / len(skippable) < 0.7
