"""`bcs serve`."""

import sys

import click

from batch_conductor_service.config import load_settings
from service_libs import event_loop


@click.command()
def serve() -> None:
    """Serve until SIGTERM or Ctrl-C.

    Reads only settings; starts none of the servers that it needs.
    """
    settings = load_settings(refuse_unknown=True)  # refused before anything is loaded

    from batch_conductor_service.app import create_app
    from batch_conductor_service.startup_setup import build_container, check_configuration
    from service_libs.exceptions import PipelineConfigurationError
    from service_libs.serving import ServedService
    from service_libs.serving import serve as serve_until_stopped

    service = ServedService(
        prefix="BCS_",
        environment=settings.environment.value,
        log_level=settings.log_level,
        host=settings.http_host,
        port=settings.http_port,
        requires_token=settings.service_token is not None,
        max_connections=settings.max_connections,
        shutdown_timeout_seconds=settings.shutdown_timeout_seconds,
        build_container=lambda: build_container(settings),
        check=check_configuration,
        create_app=lambda container: create_app(settings, container),
        logged=PipelineConfigurationError,  # the file's reader has logged every fault
    )
    sys.exit(event_loop.run(serve_until_stopped(service)))
