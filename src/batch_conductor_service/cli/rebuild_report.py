"""How a rebuild is told: to a person in two sentences, to a machine as lines of JSON."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from batch_conductor_service.cli.operating import make_console
from batch_conductor_service.operating.repairing import RebuiltPage


class RebuildReport(Protocol):
    """What is told while batches are made anew, and at the end."""

    def show(self, page: RebuiltPage) -> None:
        """Tell what became of some batches."""
        ...

    def finish(self, *, is_applied: bool) -> None:
        """Tell the sums."""
        ...

    @property
    def left(self) -> int:
        """How many batches are not whole in Redis."""
        ...


class JsonRebuildReport:
    """One object a line: `not_whole` for each batch that is not, and a `summary` at the end."""

    def __init__(self) -> None:
        self._whole = self.left = 0

    def show(self, page: RebuiltPage) -> None:
        self._whole += page.made_whole
        self.left += len(page.left)
        for batch_id in page.left:
            click.echo(json.dumps({"type": "not_whole", "batch_id": batch_id}))

    def finish(self, *, is_applied: bool) -> None:
        sums = {"applied": is_applied, "whole": self._whole, "not_whole": self.left}
        click.echo(json.dumps({"type": "summary"} | sums))


class TextRebuildReport:
    """Shows how far it is while it goes on."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._whole = self.left = 0
        self._progress = progress
        self._console = console
        self._task = progress.add_task("rebuild", total=None, left=0)

    def show(self, page: RebuiltPage) -> None:
        self._whole += page.made_whole
        self.left += len(page.left)
        seen = page.made_whole + len(page.left)
        self._progress.update(self._task, advance=seen, left=self.left)

    def finish(self, *, is_applied: bool) -> None:
        verb = "are whole now" if is_applied else "are whole already"
        self._console.print(
            f"{self._whole} batches {verb}; {self.left} are not in Redis, or in doubt."
        )
        if not is_applied:
            self._console.print("Nothing was changed; --apply makes all of them anew.")


@contextmanager
def rebuild_report(*, is_json: bool) -> Iterator[RebuildReport]:
    """Give the report for a person or a machine."""
    if is_json:
        yield JsonRebuildReport()
        return
    console = make_console()
    told = "{task.completed} batches, {task.fields[left]} not whole"
    columns = (SpinnerColumn(), TextColumn(told), TimeElapsedColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        yield TextRebuildReport(progress, console)
