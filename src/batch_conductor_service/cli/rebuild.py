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
def rebuild(batches: Sequence[BatchId], *, is_applied: bool) -> None:
    """Make Redis anew from Postgres.

    All batches that Postgres or Redis knows, or those named. By merging: what only Redis or the
    queue knows is kept. May be run at any time. It is never needed for right answers, for a batch
    that Redis has lost is merged when it is next needed; it warms an empty Redis.

    Exits with 0 when every batch is whole in Redis, with 1 when some are not, with 2 when it could
    not tell.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    settings = load_settings()
    require_stores(settings, postgres=True)
    console = Console()

    async def run() -> int:
        from batch_conductor_service.services.auditing import Auditor
        from batch_conductor_service.services.repairing import Repairer

        whole = left = 0
        told = "{task.completed} batches, {task.fields[left]} not whole"
        columns = (SpinnerColumn(), TextColumn(told), TimeElapsedColumn())
        async with opened(settings) as container:
            auditor, repairer = await container.get(Auditor), await container.get(Repairer)
            make = repairer.rebuild if is_applied else repairer.look
            with Progress(*columns, console=console, transient=True) as progress:
                task = progress.add_task("rebuild", total=None, left=0)
                async for some in auditor.list_batches(batches):
                    page = await make(some)
                    whole, left = whole + page.made_whole, left + len(page.left)
                    progress.update(task, advance=len(some), left=left)
        verb = "are whole now" if is_applied else "are whole already"
        console.print(f"{whole} batches {verb}; {left} are not in Redis, or in doubt.")
        if not is_applied:
            console.print("Nothing was changed; --apply makes all of them anew.")
        return left

    sys.exit(SOMETHING_DIFFERS if asyncio.run(run()) else NOTHING_DIFFERS)
