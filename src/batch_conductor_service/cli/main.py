"""The command and its subcommands. Each loads only what it needs, when it is called."""

import click

from batch_conductor_service.cli.audit import audit
from batch_conductor_service.cli.local import local
from batch_conductor_service.cli.migrate import migrate
from batch_conductor_service.cli.pipelines import pipelines
from batch_conductor_service.cli.replay import replay
from batch_conductor_service.cli.serve import serve
from service_libs.exceptions import ServiceError


class ConductorGroup(click.Group):
    """Tells an error of ours on standard error, without a traceback, and exits with 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ServiceError as exc:
            raise click.ClickException(str(exc)) from exc


@click.group(cls=ConductorGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="batch-conductor-service", message="%(version)s")
def main() -> None:
    """Tell which phases of a batch of essays are still to run, and in which order.

    Settings come from BCS_... environment variables.
    """


main.add_command(serve)
main.add_command(migrate)
main.add_command(pipelines)
main.add_command(local)
main.add_command(audit)
main.add_command(replay)
