"""`bos runs`, `bos show`, `bos resend` and `bos cancel`."""

import json
import os
import pwd
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn
from uuid import UUID

import click

from batch_orchestrator_service.config import load_settings
from common_core.printable import is_printable
from service_libs.cli.operating import carry_out

if TYPE_CHECKING:
    from dishka import AsyncContainer

    from common_core.pipeline_state import RunState

DONE, NOT_DONE = 0, 1  # exit codes
MAX_RUNS = 1000

as_json = click.option("--json", "is_json", is_flag=True, help="One JSON object a line.")
run_argument = click.argument("run_id", metavar="RUN", type=click.UUID)
MAX_NAME = 255  # characters


def operator_name(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str:
    """Return who the audit says has done it; for an option's `callback`.

    Unless a name is given it is that of the process's user, whatever the environment says.
    """
    if name is None:
        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # in a container, often
            return f"uid {os.getuid()}"
    if not name.strip() or len(name) > MAX_NAME or not is_printable(name):
        raise click.BadParameter(f"a name has 1 to {MAX_NAME} printable characters.")
    return name


as_operator = click.option(
    "--as",
    "operator",
    metavar="NAME",
    callback=operator_name,
    help="Who does it, for the audit; the user of this process by default.",
)


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
@as_operator
@as_json
def resend(run_id: UUID, phase: str, operator: str, *, is_json: bool) -> None:
    """Have the command of a phase sent again, as it was.

    Only of a phase whose outcome is awaited. Exits with 1 where it is not.
    """

    async def work(container: "AsyncContainer") -> None:
        from batch_orchestrator_service.operating.commands import RunCommands

        await (await container.get(RunCommands)).resend(run_id, phase, operator)
        done = {"run_id": str(run_id), "phase": phase, "resent": True}
        click.echo(json.dumps(done) if is_json else f"The command of {phase} will be sent again.")

    _do(work)


@click.command()
@run_argument
@as_operator
@as_json
def cancel(run_id: UUID, operator: str, *, is_json: bool) -> None:
    """End a run: its outcome is reported as failed, and the next of its batch begins.

    Exits with 1 where it has ended by itself.
    """

    async def work(container: "AsyncContainer") -> None:
        from batch_orchestrator_service.operating.commands import RunCommands

        await (await container.get(RunCommands)).cancel(run_id, operator)
        done = {"run_id": str(run_id), "cancelled": True}
        click.echo(json.dumps(done) if is_json else f"Run {run_id} is cancelled.")

    _do(work)


def _do(work: "Callable[[AsyncContainer], Awaitable[None]]") -> NoReturn:
    """Do the work with the service's container; exit with what became of it."""
    from batch_orchestrator_service.exceptions import (
        NothingToResendError,
        RunHasEndedError,
        UnknownRunError,
    )
    from batch_orchestrator_service.startup_setup import build_container

    async def attempt(container: "AsyncContainer") -> int:
        try:
            await work(container)
        except (NothingToResendError, RunHasEndedError, UnknownRunError) as exc:
            click.echo(f"Error: {exc}", err=True)
            return NOT_DONE
        return DONE

    settings = load_settings()
    carry_out(lambda: build_container(settings), attempt)


def _print_run(batch_id: str, run: "RunState") -> None:
    click.echo(f"Run {run.run_id} of {run.pipeline} over {batch_id}: {run.state}")
    if run.reason:
        click.echo(f"  because of {run.reason}")
    for phase in run.phases:
        counts = f"{phase.completed} completed, {phase.failed} failed, of {phase.total}"
        stalled = ", STALLED" if phase.stalled else ""
        click.echo(f"  {phase.name}: {phase.status} ({counts}){stalled}")
