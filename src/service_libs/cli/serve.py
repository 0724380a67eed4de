"""`serve`, of every service on Quart."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from service_libs import event_loop

if TYPE_CHECKING:
    from service_libs.serving import ServedService

SettingsType = TypeVar("SettingsType")


def serve_command(
    load_settings: Callable[[], SettingsType],
    load_service: Callable[[SettingsType], "ServedService"],
) -> click.Command:
    """Return the command. Settings are refused before the service is loaded."""

    @click.command()
    def serve() -> None:
        """Serve until SIGTERM or Ctrl-C.

        Reads only settings; starts none of the servers that it needs.
        """
        service = load_service(load_settings())

        from service_libs.serving import serve as serve_until_stopped

        sys.exit(event_loop.run(serve_until_stopped(service)))

    return serve
