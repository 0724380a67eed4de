"""`bcs audit`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from batch_conductor_service.config import Settings, load_settings
from batch_conductor_service.domain.drift import BatchComparison
from batch_conductor_service.models import BatchId
from batch_conductor_service.operating.auditing import AuditedPage, Auditor, Repairer
from common_core.fields import is_identifier
from service_libs.cli.operating import (
    COULD_NOT_TELL,
    NOTHING_DIFFERS,
    SOMETHING_DIFFERS,
    CouldNotTell,
    Output,
    carry_out,
)

if TYPE_CHECKING:
    from dishka import AsyncContainer
    from rich.table import Table

MAX_ROWS = 20  # of one batch, for a person; machines get all


def batch_ids(
    _context: click.Context, _parameter: click.Parameter, values: Sequence[str]
) -> list[BatchId]:
    """Return the ids; for an argument's `callback`."""
    for value in values:
        if not is_identifier(value):
            raise click.BadParameter(f"'{value}' is no batch id.")
    return [BatchId(value) for value in values]


@click.command()
@click.argument("batches", nargs=-1, metavar="[BATCH]...", callback=batch_ids)
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line, for machines.")
@click.option("--repair", is_flag=True, help="Merge; without it nothing is changed.")
def audit(batches: Sequence[BatchId], *, is_json: bool, repair: bool) -> None:
    """Compare Redis, Postgres and the queue, batch by batch.

    All batches that Postgres or Redis knows, or those named. Right is what all of them say
    together, merged; what is only on its way to Postgres is no difference, and neither is a batch
    that Redis lacks or has only in part, for it is merged with Postgres when it is next needed. May
    be run at any time: a difference is reported when it is seen twice, two seconds apart.

    --repair brings to Redis what Postgres knows, also of the batches that are still to be merged,
    so it fills a Redis that was emptied; it queues for Postgres what only Redis knows, counts
    again, and looks again.

    Exits with 0 when nothing differs (any more), with 1 when something does, or is still to be
    merged after --repair, with 2 when it could not find out, or nobody has heard of a batch that
    was named.
    """
    settings = load_settings()
    _require_stores(settings, postgres=repair)
    report = AuditReport(Output(is_json=is_json), is_repair=repair)

    async def work(container: "AsyncContainer") -> int:
        auditor = await container.get(Auditor)
        repairer = await container.get(Repairer) if repair else None
        is_any_left = False
        with report.output.progress() as progress:
            async for some in auditor.list_batches(batches):
                page = await auditor.audit(some)
                report.show(page)
                left: Sequence[object] = page.differing
                if repairer and page.repairable:
                    after = await repairer.repair(page)
                    report.show_repaired(page, after)
                    left = after.repairable
                is_any_left |= bool(left)
                progress.update(report.sums.sentence)
        report.finish()
        if is_any_left:
            return SOMETHING_DIFFERS
        return COULD_NOT_TELL if batches and report.sums.unknown else NOTHING_DIFFERS

    from batch_conductor_service.startup_setup import build_container

    carry_out(lambda: build_container(settings), work)


def _require_stores(settings: Settings, *, postgres: bool) -> None:
    """Fail where there is nothing to work on."""
    if settings.uses_memory:
        raise CouldNotTell("These settings keep state in the memory of the service only.")
    if postgres and not settings.postgres_enabled:
        raise CouldNotTell("BCS_POSTGRES_ENABLED is false: there is nothing to merge with.")


@dataclass(slots=True)
class Sums:
    """What all pages come to; the last two are None where nothing is repaired."""

    audited: int = 0
    differing: int = 0
    unmerged: int = 0
    unknown: int = 0
    repaired: int | None = None
    merged: int | None = None

    @property
    def sentence(self) -> str:
        """The sums in words."""
        parts = [f"{self.audited} batches compared", f"{self.differing} differ"]
        if self.repaired is not None:
            parts.append(f"{self.repaired} repaired")
        if self.unmerged:
            parts.append(f"{self.unmerged} to be merged when they are next needed")
        if self.merged:
            parts.append(f"{self.merged} of them merged now")
        if self.unknown:
            parts.append(f"{self.unknown} nobody has heard of")
        return "; ".join(parts) + "."


class AuditReport:
    """What an audit has to say, page by page, and at its end."""

    def __init__(self, output: Output, *, is_repair: bool) -> None:
        self.output = output
        self.sums = Sums(repaired=0, merged=0) if is_repair else Sums()

    def show(self, page: AuditedPage) -> None:
        """Say what was found of some batches."""
        self.sums.audited += page.audited - len(page.unknown)
        self.sums.unknown += len(page.unknown)
        self.sums.unmerged += len(page.unmerged)
        self.sums.differing += len(page.differing)
        for batch_id in page.unknown:
            self.output.write("unknown", batch_id=batch_id)
            self.output.show(f"Nobody has heard of batch {batch_id}.")
        for batch_id in page.unmerged:
            self.output.write("unmerged", batch_id=batch_id)
        for one in page.differing:
            differences = [asdict(difference) for difference in one.differences]
            self.output.write("differs", batch_id=one.batch_id, differences=differences)
            self.output.show(_table(one))

    def show_repaired(self, found: AuditedPage, left: AuditedPage) -> None:
        """Say what became of the batches that differed or were to be merged."""
        still = set(left.repairable)
        repaired = [one.batch_id for one in found.differing if one.batch_id not in still]
        merged = [one for one in found.unmerged if one not in still]
        self.sums.repaired = (self.sums.repaired or 0) + len(repaired)
        self.sums.merged = (self.sums.merged or 0) + len(merged)
        for kind, batches in (("repaired", repaired), ("merged", merged)):
            for batch_id in batches:
                self.output.write(kind, batch_id=batch_id)
        for one in left.differing:
            self.output.show(f"{one.batch_id} differs still.")
        for batch_id in left.unmerged:
            self.output.show(f"{batch_id} is still to be merged: something waits for Postgres.")

    def finish(self) -> None:
        """Say the sums."""
        self.output.write("summary", **asdict(self.sums))
        self.output.show(self.sums.sentence)


def _table(one: BatchComparison) -> "Table":
    from rich.table import Table

    table = Table(title=f"batch {one.batch_id}", title_justify="left")
    for heading in ("wrong in", "what", "says", "right is", "known by"):
        table.add_column(heading)
    for each in one.differences[:MAX_ROWS]:
        place, known_by = each.place.value, each.known_by.value
        table.add_row(place, each.subject, each.says or "-", each.right or "-", known_by)
    if (more := len(one.differences) - MAX_ROWS) > 0:
        table.add_row("", f"and {more} more (--json shows all)", "", "", "")
    return table
