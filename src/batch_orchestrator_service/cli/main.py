"""The command and its subcommands. Each loads only what it needs, when it is called."""

import click

from batch_orchestrator_service.cli.migrate import migrate
from batch_orchestrator_service.cli.runs import cancel, resend, runs, show
from batch_orchestrator_service.cli.serve import serve
from service_libs.exceptions import ServiceError


class OrchestratorGroup(click.Group):
    """Reports an error of ours on standard error, without a traceback, and exits with 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ServiceError as exc:
            raise click.ClickException(str(exc)) from exc


@click.group(cls=OrchestratorGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="batch-conductor-service", message="%(version)s")
def main() -> None:
    """Run the pipelines that clients ask for over batches of essays, phase by phase.

    Settings come from BOS_... environment variables.
    """


for command in (serve, migrate, runs, show, resend, cancel):
    main.add_command(command)
