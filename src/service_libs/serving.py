"""Serving a service as a process, from its settings to its exit code."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from dishka import AsyncContainer
from quart import Quart

from service_libs.exceptions import ServiceError
from service_libs.health import HealthMonitor
from service_libs.http.listener import Listener
from service_libs.http.process import serve_until_stopped
from service_libs.http.signals import FAILURE
from service_libs.lifecycle import refuse_unfit_stores
from service_libs.logging import configure_logging

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedService:
    """What is served, and how.

    Attributes:
        prefix: what the names of its settings begin with.
        check: makes everything that the service consists of; connects to nothing.
        logged: what `check` raises that is logged by then, if anything is.
    """

    prefix: str
    environment: str
    log_level: str
    host: str
    port: int
    requires_token: bool
    max_connections: int
    shutdown_timeout_seconds: float
    build_container: Callable[[], AsyncContainer]
    check: Callable[[AsyncContainer], Awaitable[None]]
    create_app: Callable[[AsyncContainer], Quart]
    logged: type[ServiceError] | tuple[()] = ()


async def serve(service: ServedService) -> int:
    """Serve until a signal; return the exit code, 0 only after a clean end."""
    configure_logging(service.log_level)
    try:
        container = service.build_container()
        await service.check(container)
        await refuse_unfit_stores(container)
        named = f"{service.prefix}HTTP_HOST, {service.prefix}HTTP_PORT"
        listener = Listener(service.host, service.port, settings=named)
    except ServiceError as exc:
        if not isinstance(exc, service.logged):
            logger.critical("start_failed", reason=str(exc))
        return FAILURE
    logger.info(
        "starting",
        environment=service.environment,
        port=listener.port,
        service_token_required=service.requires_token,
    )
    return await serve_until_stopped(
        service.create_app(container),
        await container.get(HealthMonitor),
        listener,
        max_connections=service.max_connections,
        shutdown_timeout_seconds=service.shutdown_timeout_seconds,
    )
