"""The command and its subcommands. Each is loaded when it is called, and only what it needs."""

import click

from service_libs.cli.group import ServiceGroup, Subcommand

SERVING = "batch_orchestrator_service.cli.serving"
RUNS = "batch_orchestrator_service.cli.runs"
SUBCOMMANDS = {
    "cancel": Subcommand(
        f"{RUNS}:cancel",
        "End a run: its outcome is reported as failed, and the next of its batch begins.",
    ),
    "migrate": Subcommand(
        f"{SERVING}:migrate",
        "Bring the schema `bos` in the database of BOS_DATABASE_URL to the newest revision.",
    ),
    "replay": Subcommand(
        f"{SERVING}:replay", "Move the consumer group back, so that events are read again."
    ),
    "resend": Subcommand(f"{RUNS}:resend", "Have the command of a phase sent again, as it was."),
    "runs": Subcommand(f"{RUNS}:runs", "List the runs that have not ended, the oldest first."),
    "serve": Subcommand(f"{SERVING}:serve", "Serve until SIGTERM or Ctrl-C."),
    "show": Subcommand(f"{RUNS}:show", "Show a run with its phases."),
}


@click.group(
    cls=ServiceGroup,
    subcommands=SUBCOMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="batch-conductor-service", message="%(version)s")
def main() -> None:
    """Run the pipelines that clients ask for over batches of essays, phase by phase.

    Settings come from BOS_... environment variables.
    """
