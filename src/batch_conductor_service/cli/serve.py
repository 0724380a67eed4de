"""`bcs serve`."""

import sys

import click
import structlog

from batch_conductor_service.config import Settings, load_settings
from service_libs import event_loop

FAILURE = 1  # exit code


@click.command()
def serve() -> None:
    """Serve until SIGTERM or Ctrl-C.

    Reads only settings; starts none of the servers that it needs.
    """
    settings = load_settings(refuse_unknown=True)  # refused before anything is loaded
    sys.exit(event_loop.run(_serve(settings)))


async def _serve(settings: Settings) -> int:
    """Return the exit code, 0 only after a clean end."""
    from batch_conductor_service.app import create_app
    from batch_conductor_service.exceptions import PipelineConfigurationError
    from batch_conductor_service.startup_setup import (
        build_container,
        check_configuration,
        refuse_unfit_stores,
    )
    from service_libs.exceptions import ServiceError
    from service_libs.health import HealthMonitor
    from service_libs.http.listener import Listener
    from service_libs.http.process import serve_until_stopped
    from service_libs.logging import configure_logging

    configure_logging(settings.log_level)
    logger = structlog.get_logger(__name__)
    try:
        container = build_container(settings)
        await check_configuration(container)
        await refuse_unfit_stores(container)
        listener = Listener(
            settings.http_host, settings.http_port, settings="BCS_HTTP_HOST, BCS_HTTP_PORT"
        )
    except PipelineConfigurationError:
        return FAILURE  # the file's reader has logged every fault
    except ServiceError as exc:
        logger.critical("start_failed", reason=str(exc))
        return FAILURE
    logger.info(
        "starting",
        environment=settings.environment.value,
        port=listener.port,
        service_token_required=settings.service_token is not None,
    )
    return await serve_until_stopped(
        create_app(settings, container),
        await container.get(HealthMonitor),
        listener,
        max_connections=settings.max_connections,
        shutdown_timeout_seconds=settings.shutdown_timeout_seconds,
    )
