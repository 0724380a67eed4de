"""`api-gateway serve` and `api-gateway openapi`. Each loads only what it needs."""

import json
import sys

import click


@click.command()
def serve() -> None:
    """Serve until SIGTERM or Ctrl-C.

    Starts none of the servers that it needs, and serves without them what can be served.
    """
    from api_gateway_service.config import load_settings
    from service_libs import event_loop

    settings = load_settings(refuse_unknown=True)  # said before anything else is loaded

    from api_gateway_service.server.serving import serve as serve_until_stopped

    sys.exit(event_loop.run(serve_until_stopped(settings)))


@click.command()
def openapi() -> None:
    """Print the OpenAPI document; needs no setting and no server."""
    from api_gateway_service.main import make_routes

    click.echo(json.dumps(make_routes().openapi(), indent=2, ensure_ascii=False))
