"""The command and its subcommands. Each loads only what it needs, when it is called."""

import json
import sys

import click

from api_gateway_service.config import load_settings
from service_libs import event_loop
from service_libs.cli.group import ServiceGroup


@click.group(cls=ServiceGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="batch-conductor-service", message="%(version)s")
def main() -> None:
    """Let people ask for pipelines over batches of essays, and see what becomes of them.

    Settings come from API_GATEWAY_... environment variables.
    """


@main.command()
def serve() -> None:
    """Serve until SIGTERM or Ctrl-C.

    Starts none of the servers that it needs, and serves without them what can be served.
    """
    settings = load_settings(refuse_unknown=True)  # said before anything is loaded

    from api_gateway_service.server.serving import serve as serve_until_stopped

    sys.exit(event_loop.run(serve_until_stopped(settings)))


@main.command()
def openapi() -> None:
    """Print the OpenAPI document; needs no setting and no server."""
    from api_gateway_service.main import make_routes

    click.echo(json.dumps(make_routes().openapi(), indent=2, ensure_ascii=False))
