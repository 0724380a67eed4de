"""`bcs rebuild`."""

import asyncio
import sys
from collections.abc import Sequence

import click

from batch_conductor_service.cli.operating import (
    NOTHING_DIFFERS,
    SOMETHING_DIFFERS,
    batch_ids,
    opened,
    require_stores,
)
from batch_conductor_service.config import load_settings
from batch_conductor_service.models import BatchId


@click.command()
@click.argument("batches", nargs=-1, metavar="[BATCH]...", callback=batch_ids)
@click.option("--apply", "is_applied", is_flag=True, help="Do it; without it nothing is changed.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line, for machines.")
def rebuild(batches: Sequence[BatchId], *, is_applied: bool, is_json: bool) -> None:
    """Make Redis anew from Postgres.

    All batches that Postgres or Redis knows, or those named. By merging: what only Redis or the
    queue knows is kept. May be run at any time. It is never needed for right answers, for a batch
    that Redis has lost is merged when it is next needed; it warms an empty Redis.

    Exits with 0 when every batch is whole in Redis, with 1 when some are not, with 2 when it could
    not tell.
    """
    settings = load_settings()
    require_stores(settings, postgres=True)

    async def run() -> int:
        from batch_conductor_service.cli.rebuild_report import rebuild_report
        from batch_conductor_service.operating.auditing import Auditor
        from batch_conductor_service.operating.repairing import Repairer

        async with opened(settings) as container:
            auditor, repairer = await container.get(Auditor), await container.get(Repairer)
            make = repairer.rebuild if is_applied else repairer.look
            with rebuild_report(is_json=is_json) as report:
                async for some in auditor.list_batches(batches):
                    report.show(await make(some))
        report.finish(is_applied=is_applied)
        return report.left

    sys.exit(SOMETHING_DIFFERS if asyncio.run(run()) else NOTHING_DIFFERS)
