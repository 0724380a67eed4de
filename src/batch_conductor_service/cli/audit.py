"""`bcs audit`."""

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from batch_conductor_service.cli.operating import (
    COULD_NOT_TELL,
    NOTHING_DIFFERS,
    SOMETHING_DIFFERS,
    batch_ids,
    opened,
    require_stores,
)
from batch_conductor_service.config import load_settings
from batch_conductor_service.models import BatchId

if TYPE_CHECKING:
    from batch_conductor_service.cli.audit_report import AuditReport


@click.command()
@click.argument("batches", nargs=-1, metavar="[BATCH]...", callback=batch_ids)
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line, for machines.")
@click.option("--repair", is_flag=True, help="Merge what differs; without it nothing is changed.")
def audit(batches: Sequence[BatchId], *, is_json: bool, repair: bool) -> None:
    """Compare Redis, Postgres and the queue, batch by batch.

    All batches that Postgres or Redis knows, or those named. Right is what all of them say
    together, merged; what is only on its way to Postgres is no difference, and neither is a batch
    that Redis has forgotten whole. May be run at any time: a difference is told when it is seen
    twice, two seconds apart.

    --repair brings to Redis what Postgres knows, queues for Postgres what only Redis knows, counts
    anew, and looks again.

    Exits with 0 when nothing differs (any more), with 1 when something does, with 2 when it could
    not tell, or nobody has heard of a batch that was named.
    """
    from batch_conductor_service.cli.audit_report import JsonReport, TableReport

    settings = load_settings()
    require_stores(settings, postgres=repair)
    report: AuditReport = JsonReport() if is_json else TableReport()

    async def run() -> int:
        from batch_conductor_service.operating.auditing import Auditor
        from batch_conductor_service.operating.repairing import Repairer

        async with opened(settings) as container:
            auditor = await container.get(Auditor)
            repairer = await container.get(Repairer) if repair else None
            differs = is_unknown = False
            async for some in auditor.list_batches(batches):
                page = await auditor.audit(some)
                report.show(page)
                left = page.differing
                if repairer and page.differing:
                    left = tuple(await repairer.repair(page.differing))
                    report.show_repaired(page.differing, left)
                differs = differs or bool(left)
                is_unknown = is_unknown or bool(batches and page.unknown)
        if differs:
            return SOMETHING_DIFFERS
        return COULD_NOT_TELL if is_unknown else NOTHING_DIFFERS

    code = asyncio.run(run())
    report.finish()
    sys.exit(code)
