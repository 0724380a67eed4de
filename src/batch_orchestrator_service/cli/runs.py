"""`bos runs`, `bos show`, `bos resend` and `bos cancel`."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from uuid import UUID

import click

from batch_orchestrator_service.config import load_settings
from service_libs.exceptions import ServiceError

if TYPE_CHECKING:
    from dishka import AsyncContainer

    from common_core.pipeline_state import RunState

DONE, NOT_DONE, COULD_NOT_TELL = 0, 1, 2  # exit codes
MAX_RUNS = 1000

as_json = click.option("--json", "is_json", is_flag=True, help="One JSON object a line.")
run_argument = click.argument("run_id", metavar="RUN", type=click.UUID)


class CouldNotTell(click.ClickException):
    """The command could not do its work."""

    exit_code = COULD_NOT_TELL


@click.command()
@as_json
def runs(*, is_json: bool) -> None:
    """List the runs that have not ended, the oldest first."""

    async def work(container: "AsyncContainer") -> None:
        from batch_orchestrator_service.protocols import RunStoreProtocol

        store = await container.get(RunStoreProtocol)
        for batch_id, run in await store.list_open(MAX_RUNS):
            line = {
                "run_id": str(run.run_id),
                "batch_id": batch_id,
                "pipeline": run.pipeline,
                "state": run.state.value,
                "reason": run.reason,
                "accepted_at": run.accepted_at.isoformat(),
            }
            if is_json:
                click.echo(json.dumps(line))
            else:
                waits = f" ({run.reason})" if run.reason else ""
                click.echo(f"{run.run_id}  {batch_id}  {run.pipeline}  {run.state.value}{waits}")

    _do(work)


@click.command()
@run_argument
@as_json
def show(run_id: UUID, *, is_json: bool) -> None:
    """Show a run with its phases. Exits with 1 where there is none."""

    async def work(container: "AsyncContainer") -> None:
        from batch_orchestrator_service.api.conversion import to_run
        from batch_orchestrator_service.operating.commands import RunCommands
        from service_libs.protocols import ClockProtocol

        commands = await container.get(RunCommands)
        clock = await container.get(ClockProtocol)
        batch_id, run = await commands.find(run_id)
        shown = to_run(run, clock.now())
        if is_json:
            click.echo(json.dumps({"batch_id": batch_id, **shown.model_dump(mode="json")}))
        else:
            _print_run(batch_id, shown)

    _do(work)


@click.command()
@run_argument
@click.argument("phase", metavar="PHASE")
@as_json
def resend(run_id: UUID, phase: str, *, is_json: bool) -> None:
    """Have the command of a phase sent again, as it was.

    Only of a phase whose outcome is awaited. Exits with 1 where it is not.
    """

    async def work(container: "AsyncContainer") -> None:
        from batch_orchestrator_service.operating.commands import RunCommands

        await (await container.get(RunCommands)).resend(run_id, phase)
        done = {"run_id": str(run_id), "phase": phase, "resent": True}
        click.echo(json.dumps(done) if is_json else f"The command of {phase} will be sent again.")

    _do(work)


@click.command()
@run_argument
@as_json
def cancel(run_id: UUID, *, is_json: bool) -> None:
    """End a run: its outcome is reported as failed, and the next of its batch begins.

    Exits with 1 where it has ended by itself.
    """

    async def work(container: "AsyncContainer") -> None:
        from batch_orchestrator_service.operating.commands import RunCommands

        await (await container.get(RunCommands)).cancel(run_id)
        done = {"run_id": str(run_id), "cancelled": True}
        click.echo(json.dumps(done) if is_json else f"Run {run_id} is cancelled.")

    _do(work)


def _do(work: "Callable[[AsyncContainer], Awaitable[None]]") -> None:
    """Do the work with the service's container; exit with what became of it.

    Logs go to standard error, and only errors: standard output is the answer's.
    """
    from batch_orchestrator_service.exceptions import (
        NothingToResendError,
        RunHasEndedError,
        UnknownRunError,
    )
    from batch_orchestrator_service.startup_setup import build_container
    from service_libs.logging import configure_logging

    configure_logging("ERROR", sys.stderr)
    settings = load_settings()

    async def run() -> int:
        container = build_container(settings)
        try:
            await work(container)
        except (NothingToResendError, RunHasEndedError, UnknownRunError) as exc:
            click.echo(f"Error: {exc}", err=True)
            return NOT_DONE
        except ServiceError as exc:
            raise CouldNotTell(str(exc)) from exc
        finally:
            await container.close()
        return DONE

    sys.exit(asyncio.run(run()))


def _print_run(batch_id: str, run: "RunState") -> None:
    click.echo(f"Run {run.run_id} of {run.pipeline} over {batch_id}: {run.state}")
    if run.reason:
        click.echo(f"  because of {run.reason}")
    for phase in run.phases:
        counts = f"{phase.completed} completed, {phase.failed} failed, of {phase.total}"
        stalled = ", STALLED" if phase.stalled else ""
        click.echo(f"  {phase.name}: {phase.status} ({counts}){stalled}")
