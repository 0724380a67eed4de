"""Serving the gateway as a process, from its settings to its exit code."""

import asyncio
import gc
import socket
from collections.abc import Generator
from contextlib import contextmanager

import structlog
import uvicorn
from dishka import AsyncContainer
from starlette.types import ASGIApp

from api_gateway_service.config import Settings
from api_gateway_service.main import create_app
from api_gateway_service.server.connections import Connections
from api_gateway_service.services.status_feeds import StatusFeeds
from api_gateway_service.startup_setup import build_container, check_configuration
from service_libs.exceptions import ServiceError, UncleanShutdownError
from service_libs.health import HealthMonitor
from service_libs.http.listener import Listener
from service_libs.http.signals import on_signals
from service_libs.lifecycle import run_beside_requests
from service_libs.logging import configure_logging

FAILURE = 1  # exit code
GC_THRESHOLD = 20_000  # objects
ADDRESS_SETTINGS = "API_GATEWAY_HTTP_HOST, API_GATEWAY_HTTP_PORT"
IDLE_SECONDS = 75  # longer than callers keep idle connections, so that they close first
LET_GO_SECONDS = 1  # for callers to part from their connections
REQUESTS_SHARE = 0.3  # of the shutdown's time, for what is being answered

logger = structlog.get_logger(__name__)


class GatewayServer(uvicorn.Server):
    """uvicorn's server, which leaves signals to us: it would close what callers still use."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_serving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_serving.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


async def serve(settings: Settings) -> int:
    """Serve until a signal; return the exit code, 0 only after a clean end."""
    configure_logging(settings.log_level)
    try:
        container = build_container(settings)
        await check_configuration(container)
        listener = Listener(settings.http_host, settings.http_port, settings=ADDRESS_SETTINGS)
    except ServiceError as exc:
        logger.critical("start_failed", reason=str(exc))
        return FAILURE
    logger.info(
        "starting",
        environment=settings.environment.value,
        port=listener.port,
        auth_mode=settings.auth_mode.value,
    )
    stopping = on_signals(settings.shutdown_timeout_seconds)
    gc.collect()
    gc.freeze()  # what is there now stays until the end, and is not searched again and again
    gc.set_threshold(GC_THRESHOLD)  # a request makes hundreds of objects, and no cycles
    try:
        async for _ in run_beside_requests(container, settings.shutdown_timeout_seconds):
            await _serve_requests(container, settings, listener, stopping)
    except UncleanShutdownError as exc:
        logger.critical("serving_failed", reason=str(exc))
        return FAILURE
    finally:
        listener.close()
    logger.info("stopped")
    return 0


async def _serve_requests(
    container: AsyncContainer, settings: Settings, listener: Listener, stopping: asyncio.Event
) -> None:
    """Answer requests until it is to stop, and those that came until then."""
    app = await create_app(settings, container)
    server = GatewayServer(_uvicorn_config(app, settings))
    serving = asyncio.create_task(server.serve([listener.socket]), name="serve")
    await server.is_serving.wait()
    logger.info("serving", port=listener.port)
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({stop, serving}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    (await container.get(HealthMonitor)).begin_shutdown()
    (await container.get(StatusFeeds)).end_all()
    await listener.let_in_who_waits()
    await asyncio.sleep(LET_GO_SECONDS)
    server.should_exit = True
    await serving


def _uvicorn_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connections(settings.max_connections).make,  # type: ignore[arg-type] # uvicorn calls it as it would a class
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=int(REQUESTS_SHARE * settings.shutdown_timeout_seconds),
    )
