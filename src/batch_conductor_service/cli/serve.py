"""`bcs serve`."""

import asyncio
import sys

import click

from batch_conductor_service.config import load_settings


@click.command()
def serve() -> None:
    """Serve until SIGTERM or Ctrl-C.

    Reads only settings; starts none of the servers that it needs.
    """
    settings = load_settings(refuse_unknown=True)  # told before anything is loaded

    from batch_conductor_service.server import serve as serve_until_stopped

    sys.exit(asyncio.run(serve_until_stopped(settings)))
