"""How benches judge their figures, and what they write. That they run is for `make bench`."""

import importlib
import inspect

import pytest

from bench.__main__ import BENCHES
from bench.document import describe, render
from bench.figures import Figure, Goal, middle, quantile, rounds

LIMIT = ("the limit", 100.0)


def figure(measured: float, goal: Goal | None, limit: tuple[str, float] | None = LIMIT) -> Figure:
    return Figure(work="the work", measured=measured, unit="requests/s", limit=limit, goal=goal)


@pytest.mark.parametrize(
    ("measured", "goal", "is_reached", "is_far"),
    [
        (75, Goal(bound=0.75), True, False),
        (74, Goal(bound=0.75), False, False),
        (44, Goal(bound=0.75), False, True),
        (44, Goal(bound=0.75, alarm=0.3), False, False),
        (150, Goal(bound=1.5, kind="at most"), True, False),
        (151, Goal(bound=1.5, kind="at most"), False, False),
        (251, Goal(bound=1.5, kind="at most"), False, True),
    ],
)
def test_a_ratio_is_held_to_its_goal(
    measured: float, goal: Goal, *, is_reached: bool, is_far: bool
) -> None:
    one = figure(measured, goal)

    assert (one.is_reached, one.is_far) == (is_reached, is_far)


def test_an_absolute_figure_is_held_to_its_goal_and_never_far() -> None:
    one = figure(9_000, Goal(bound=5, kind="at most"), limit=None)

    assert (one.is_reached, one.is_far) == (False, False)


def test_what_is_only_published_is_neither() -> None:
    one = figure(1, None)

    assert (one.is_reached, one.is_far) == (None, False)


def test_the_document_has_every_figure_with_its_limit_and_what_became_of_it() -> None:
    docstring = "How fast is it?\n\nVery.\n"
    figures = [figure(74, Goal(bound=0.75)), figure(3.14159, None, limit=None)]

    text = render({"machine": "2 cores"}, [(docstring, figures)])

    assert "## How fast is it?\n\nVery." in text
    assert "| machine | 2 cores |" in text
    row = "| the work | 74 requests/s | the limit: 100 requests/s | 0.74 | at least 0.75 | **no** |"
    assert row in text
    assert "| the work | 3.14 requests/s |  |  |  |  |" in text
    assert describe(figures[0]) in (
        "the work: 74 requests/s (0.74 of the limit: 100 requests/s); goal at least 0.75: **no**"
    )


def test_rounds_go_to_and_fro_and_quantiles_are_of_all_values() -> None:
    assert "".join(rounds(3, "a", "b")) == "abbaab"
    assert middle([3, 1, 2]) == 2
    assert [quantile([3, 1, 2, 4], share) for share in (0, 0.5, 0.99)] == [1, 3, 4]


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_says_what_it_measures(name: str) -> None:
    bench = importlib.import_module(f"bench.{name}")

    title, _, text = (bench.__doc__ or "").partition("\n\n")
    assert title.strip()
    assert text.strip()
    assert list(inspect.signature(bench.measure).parameters) == ["servers", "is_quick"]
