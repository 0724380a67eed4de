"""A measured figure, the limit that it was measured beside, and the goal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

FAR = 0.6  # of its goal: what is that much worse fails the quick run


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a figure should reach.

    Attributes:
        bound: the number; of the figure itself, or of its ratio to the limit.
        kind: on which side of the bound the figure should be.
        alarm: where the quick run fails; by default what is far worse than the bound.
    """

    bound: float
    kind: Literal["at least", "at most"] = "at least"
    alarm: float | None = None

    def is_reached(self, value: float) -> bool:
        """Whether the value is on the right side."""
        return value >= self.bound if self.kind == "at least" else value <= self.bound

    def is_far(self, value: float) -> bool:
        """Whether the value is far on the wrong side."""
        if self.kind == "at least":
            return value < (self.bound * FAR if self.alarm is None else self.alarm)
        return value > (self.bound / FAR if self.alarm is None else self.alarm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was measured of one piece of work.

    Attributes:
        work: what was done, as a row of the table.
        measured: how fast, slow or large it was, in the unit.
        limit: what the work is held against, with its figure; None where the goal is absolute.
        goal: None for what is only published. Where there is a limit it bounds the ratio to it.
        remark: what a reader has to know of this figure.
    """

    work: str
    measured: float
    unit: str
    limit: tuple[str, float] | None = None
    goal: Goal | None = None
    remark: str = ""

    @property
    def ratio(self) -> float | None:
        """The figure as a share of its limit."""
        return self.measured / self.limit[1] if self.limit and self.limit[1] else None

    @property
    def judged(self) -> float:
        """What the goal bounds."""
        return self.measured if self.ratio is None else self.ratio

    @property
    def is_reached(self) -> bool | None:
        """Whether the goal is; None where there is none."""
        return self.goal.is_reached(self.judged) if self.goal else None

    @property
    def is_far(self) -> bool:
        """Whether a ratio is far from its goal. Absolute figures say more of a machine."""
        return self.goal is not None and self.ratio is not None and self.goal.is_far(self.ratio)


def middle(values: Sequence[float]) -> float:
    """Return the median of what several rounds measured."""
    return median(values)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that the share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def rounds(count: int, *names: str) -> Iterator[str]:
    """Yield the names in turn, so that what disturbs the machine disturbs them alike."""
    for number in range(count):
        yield from names if number % 2 == 0 else reversed(names)
