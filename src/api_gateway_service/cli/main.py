"""The command and its subcommands. Each is loaded when it is called, and only what it needs."""

import click

from service_libs.cli.group import ServiceGroup, Subcommand

COMMANDS = "api_gateway_service.cli.commands"
SUBCOMMANDS = {
    "openapi": Subcommand(
        f"{COMMANDS}:openapi", "Print the OpenAPI document; needs no setting and no server."
    ),
    "serve": Subcommand(f"{COMMANDS}:serve", "Serve until SIGTERM or Ctrl-C."),
}


@click.group(
    cls=ServiceGroup,
    subcommands=SUBCOMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="batch-conductor-service", message="%(version)s")
def main() -> None:
    """Let people ask for pipelines over batches of essays, and see what becomes of them.

    Settings come from API_GATEWAY_... environment variables.
    """
