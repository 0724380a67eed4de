"""The command and its subcommands. Each is loaded when it is called, and only what it needs."""

import click

from service_libs.cli.group import ServiceGroup, Subcommand

SERVING = "batch_conductor_service.cli.serving"
SUBCOMMANDS = {
    "audit": Subcommand(
        "batch_conductor_service.cli.audit:audit",
        "Compare Redis, Postgres and the queue, batch by batch.",
    ),
    "local": Subcommand(
        "batch_conductor_service.cli.local:local",
        "Run BCS, BOS and the gateway with servers of their own, and show their main job.",
    ),
    "migrate": Subcommand(
        f"{SERVING}:migrate", "Bring the database of BCS_DATABASE_URL to the newest schema."
    ),
    "pipelines": Subcommand(
        "batch_conductor_service.cli.pipelines:pipelines", "Look after the pipeline file."
    ),
    "replay": Subcommand(
        f"{SERVING}:replay", "Move the consumer group back, so that events are read again."
    ),
    "serve": Subcommand(f"{SERVING}:serve", "Serve until SIGTERM or Ctrl-C."),
}


@click.group(
    cls=ServiceGroup,
    subcommands=SUBCOMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="batch-conductor-service", message="%(version)s")
def main() -> None:
    """Tell which phases of a batch of essays are still to run, and in which order.

    Settings come from BCS_... environment variables.
    """
