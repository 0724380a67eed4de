"""How an audit is told: to a person as tables, to a machine as lines of JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Protocol

import click
from rich.markup import escape
from rich.table import Table

from batch_conductor_service.cli.operating import make_console
from batch_conductor_service.domain.drift import BatchComparison, Difference
from batch_conductor_service.operating.auditing import AuditedPage

MAX_ROWS = 20  # of one batch, for a person; machines get all


class AuditReport(Protocol):
    """What is told while the audit goes on, and at its end."""

    def show(self, page: AuditedPage) -> None:
        """Tell what was found of some batches."""
        ...

    def show_repaired(
        self, found: Sequence[BatchComparison], left: Sequence[BatchComparison]
    ) -> None:
        """Tell what became of those that differed."""
        ...

    def finish(self) -> None:
        """Tell the sums."""
        ...


class Sums:
    """What all pages come to."""

    def __init__(self) -> None:
        self.audited = self.differing = self.doubted = self.unknown = 0
        self.repaired: int | None = None

    def add(self, page: AuditedPage) -> None:
        """Count a page."""
        self.audited += page.audited - len(page.unknown)
        self.differing += len(page.differing)
        self.doubted += page.doubted
        self.unknown += len(page.unknown)

    def add_repaired(self, count: int) -> None:
        """Count batches that differ no more."""
        self.repaired = (self.repaired or 0) + count


class JsonReport:
    """An object for each batch that differs, one for each that does no more, and one at the end."""

    def __init__(self) -> None:
        self._sums = Sums()

    def show(self, page: AuditedPage) -> None:
        self._sums.add(page)
        for batch_id in page.unknown:
            self._print(type="unknown", batch_id=batch_id)
        for one in page.differing:
            differences = [asdict(difference) for difference in one.differences]
            self._print(type="differs", batch_id=one.batch_id, differences=differences)

    def show_repaired(
        self, found: Sequence[BatchComparison], left: Sequence[BatchComparison]
    ) -> None:
        still = {one.batch_id for one in left}
        repaired = [one.batch_id for one in found if one.batch_id not in still]
        self._sums.add_repaired(len(repaired))
        for batch_id in repaired:
            self._print(type="repaired", batch_id=batch_id)

    def finish(self) -> None:
        self._print(type="summary", **vars(self._sums))

    @staticmethod
    def _print(**fields: object) -> None:
        click.echo(json.dumps(fields))


class TableReport:
    """A table for each batch that differs."""

    def __init__(self) -> None:
        self._sums = Sums()
        self._console = make_console()

    def show(self, page: AuditedPage) -> None:
        self._sums.add(page)
        for batch_id in page.unknown:
            self._console.print(f"Nobody has heard of batch {escape(batch_id)}.", soft_wrap=True)
        for one in page.differing:
            self._console.print(_table(one))

    def show_repaired(
        self, found: Sequence[BatchComparison], left: Sequence[BatchComparison]
    ) -> None:
        self._sums.add_repaired(len(found) - len(left))
        for one in left:
            self._console.print(f"{escape(one.batch_id)} differs still.")

    def finish(self) -> None:
        sums = self._sums
        told = [f"{sums.audited} batches compared", f"{sums.differing} differ"]
        if sums.repaired is not None:
            told.append(f"{sums.repaired} repaired")
        if sums.doubted:
            told.append(f"{sums.doubted} to be merged when they are next needed")
        if sums.unknown:
            told.append(f"{sums.unknown} nobody has heard of")
        self._console.print("; ".join(told) + ".")


def _table(one: BatchComparison) -> Table:
    table = Table(title=f"batch {escape(one.batch_id)}", title_justify="left")
    for heading in ("wrong in", "what", "says", "right is", "known by"):
        table.add_column(heading)
    for difference in one.differences[:MAX_ROWS]:
        table.add_row(*_cells(difference))
    if (more := len(one.differences) - MAX_ROWS) > 0:
        table.add_row("", f"and {more} more (--json tells all)", "", "", "")
    return table


def _cells(difference: Difference) -> tuple[str, ...]:
    return (
        difference.place.value,
        escape(difference.subject),
        escape(difference.says or "-"),
        escape(difference.right or "-"),
        difference.known_by.value,
    )
