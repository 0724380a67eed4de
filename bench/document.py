"""The figures as a document: tables, charts, and the machine that they were taken on."""

from collections.abc import Iterable, Mapping, Sequence

from bench.figures import Figure, Goal

HEADER = """# Performance

Written by `make bench` from what it measured. A ratio compares the work with its limit, measured
in turns in the same run, so it says more than any absolute figure, which is one machine's.
"""
COLUMNS = ("work", "measured", "limit", "ratio", "goal", "reached")


def render(machine: Mapping[str, str], chapters: Iterable[tuple[str, Sequence[Figure]]]) -> str:
    """Return the document.

    Args:
        machine: what it was measured on.
        chapters: the docstring of each bench, and its figures.
    """
    parts = [HEADER.strip(), _table(("", ""), machine.items())]
    for docstring, figures in chapters:
        title, _, text = docstring.strip().partition("\n")
        rows = [_row(figure) for figure in figures]
        parts += [f"## {title.rstrip('.')}", text.strip(), _table(COLUMNS, rows), *_charts(figures)]
        parts += [f"- {one.work}: {one.remark}" for one in figures if one.remark]
    return "\n\n".join(part for part in parts if part) + "\n"


def describe(figure: Figure) -> str:
    """Return the figure as one line for a terminal."""
    _, measured, limit, ratio, goal, reached = _row(figure)
    beside = f" ({ratio} of {limit})" if ratio else ""
    aim = f"; goal {goal}: {reached}" if goal else ""
    return f"{figure.work}: {measured}{beside}{aim}"


def _row(figure: Figure) -> tuple[str, ...]:
    limit = f"{figure.limit[0]}: {_number(figure.limit[1])} {figure.unit}" if figure.limit else ""
    return (
        figure.work,
        f"{_number(figure.measured)} {figure.unit}",
        limit,
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        "" if figure.goal is None else _goal(figure.goal, figure),
        {True: "yes", False: "**no**", None: ""}[figure.is_reached],
    )


def _goal(goal: Goal, figure: Figure) -> str:
    unit = f" {figure.unit}" if figure.ratio is None else ""
    return f"{goal.kind} {_number(goal.bound)}{unit}"


def _number(value: float) -> str:
    if value >= 100:  # noqa: PLR2004 - three digits are enough of any measurement
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _charts(figures: Sequence[Figure]) -> list[str]:
    """Return a chart for each unit in which there are several figures."""
    bars: dict[str, dict[str, float]] = {}
    for figure in figures:
        of_unit = bars.setdefault(figure.unit, {})
        if figure.limit:
            of_unit[figure.limit[0]] = figure.limit[1]
        of_unit[figure.work] = figure.measured
    return [_chart(unit, values) for unit, values in bars.items() if len(values) > 1]


def _chart(unit: str, values: Mapping[str, float]) -> str:
    names = ", ".join(f'"{name}"' for name in values)
    heights = ", ".join(f"{value:.4g}" for value in values.values())
    axes = f'    x-axis [{names}]\n    y-axis "{unit}"\n    bar [{heights}]'
    return f"```mermaid\nxychart-beta horizontal\n{axes}\n```"
