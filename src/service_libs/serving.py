"""Serving a service as a process, from its settings to its exit code."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import structlog
from dishka import AsyncContainer
from pydantic import SecretStr
from quart import Quart

from service_libs.exceptions import ServiceError
from service_libs.health import HealthMonitor
from service_libs.http.listener import Listener
from service_libs.http.process import serve_until_stopped
from service_libs.http.signals import FAILURE
from service_libs.lifecycle import refuse_unfit_stores
from service_libs.logging import configure_logging
from service_libs.settings import Environment

logger = structlog.get_logger(__name__)


class ServingSettings(Protocol):
    """What the settings of every service say of serving."""

    @property
    def environment(self) -> Environment: ...
    @property
    def log_level(self) -> str: ...
    @property
    def http_host(self) -> str: ...
    @property
    def http_port(self) -> int: ...
    @property
    def service_token(self) -> SecretStr | None: ...
    @property
    def max_connections(self) -> int: ...
    @property
    def shutdown_timeout_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedService:
    """What is served, and how.

    Attributes:
        prefix: what the names of its settings begin with.
        check: makes everything that the service consists of; connects to nothing.
        logged: what `check` raises that is logged by then, if anything is.
    """

    prefix: str
    settings: ServingSettings
    build_container: Callable[[], AsyncContainer]
    check: Callable[[AsyncContainer], Awaitable[None]]
    create_app: Callable[[AsyncContainer], Quart]
    logged: type[ServiceError] | tuple[()] = ()


async def serve(service: ServedService) -> int:
    """Serve until a signal; return the exit code, 0 only after a clean end."""
    settings = service.settings
    configure_logging(settings.log_level)
    try:
        container = service.build_container()
        await service.check(container)
        await refuse_unfit_stores(container)
        named = f"{service.prefix}HTTP_HOST, {service.prefix}HTTP_PORT"
        listener = Listener(settings.http_host, settings.http_port, settings=named)
    except ServiceError as exc:
        if not isinstance(exc, service.logged):
            logger.critical("start_failed", reason=str(exc))
        return FAILURE
    logger.info(
        "starting",
        environment=settings.environment.value,
        port=listener.port,
        service_token_required=settings.service_token is not None,
    )
    return await serve_until_stopped(
        service.create_app(container),
        await container.get(HealthMonitor),
        listener,
        max_connections=settings.max_connections,
        shutdown_timeout_seconds=settings.shutdown_timeout_seconds,
    )
