"""The process that serves: one Hypercorn, one event loop, and an end that loses nothing.

The first signal makes the service unready, closes the door, and lets everything that was let in
finish; a second one, or the deadline, ends the process at once.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from typing import NoReturn

import structlog
from dishka import AsyncContainer
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError

from batch_conductor_service.app import create_app
from batch_conductor_service.config import Settings
from batch_conductor_service.exceptions import ConductorError, PipelineConfigurationError
from batch_conductor_service.health import HealthMonitor
from batch_conductor_service.http_server import serve_http
from batch_conductor_service.listener import Listener
from batch_conductor_service.logging import configure_logging
from batch_conductor_service.policies import REQUESTS_SHARE
from batch_conductor_service.startup_setup import (
    build_container,
    check_configuration,
    refuse_unfit_stores,
)

logger = structlog.get_logger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
FAILURE = 1  # exit code
LET_GO_SHARE = 0.1  # of the shutdown's time, for callers to part from their connections
QUEUED_EVENTS = 2  # of a request: a body that came with it, and its end


def run(settings: Settings) -> NoReturn:
    """Serve, and exit with the code of the end."""
    sys.exit(asyncio.run(serve(settings)))


async def serve(settings: Settings) -> int:
    """Serve until a signal; return the exit code, 0 only after a clean end."""
    configure_logging(settings.log_level)
    try:
        container = build_container(settings)
        await check_configuration(container)
        await refuse_unfit_stores(container)
        listener = Listener(settings.http_host, settings.http_port)
        logger.info(
            "starting",
            environment=settings.environment.value,
            port=listener.port,
            service_token_required=settings.service_token is not None,
        )
    except PipelineConfigurationError:
        return FAILURE  # the file's reader has told every fault
    except ConductorError as exc:
        logger.critical("start_failed", reason=str(exc))
        return FAILURE
    try:
        await _serve_until_stopped(settings, container, listener)
    except LifespanFailureError as exc:
        logger.critical("serving_failed", reason=str(exc))
        return FAILURE
    finally:
        listener.close()
    logger.info("stopped")
    return 0


async def _serve_until_stopped(
    settings: Settings, container: AsyncContainer, listener: Listener
) -> None:
    stopping = _on_signals(settings.shutdown_timeout_seconds)
    monitor = await container.get(HealthMonitor)

    async def wait_for_the_end() -> None:
        await stopping.wait()
        monitor.begin_shutdown()

    app = create_app(settings, container)
    # What is there now stays until the end. Searched for garbage again and again, as much as the
    # modules hold makes every answer that falls into such a search wait for some 50 ms.
    gc.collect()
    gc.freeze()
    logger.info("serving", host=settings.http_host, port=listener.port)
    await serve_http(
        app,
        hypercorn_config(settings),
        listener,
        max_connections=settings.max_connections,
        let_go_seconds=LET_GO_SHARE * settings.shutdown_timeout_seconds,
        until=wait_for_the_end,
    )


def _on_signals(timeout_seconds: float) -> asyncio.Event:
    """Return what the first signal sets; the second one ends the process."""
    stopping = asyncio.Event()

    def handle(name: str) -> None:
        if stopping.is_set():
            _end_at_once("second_signal", name)
        logger.info("stopping", signal=name, timeout_seconds=timeout_seconds)
        # A thread: it also ends a process whose event loop no longer turns.
        deadline = threading.Timer(timeout_seconds, _end_at_once, ("deadline_passed", name))
        deadline.daemon = True
        deadline.start()
        stopping.set()

    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, handle, number.name)
    return stopping


def _end_at_once(reason: str, name: str) -> None:
    logger.critical("ended_at_once", reason=reason, signal=name)
    logging.shutdown()
    os._exit(FAILURE)


def hypercorn_config(settings: Settings) -> Config:
    """Return how the server behaves."""
    config = Config()
    config.max_app_queue_size = QUEUED_EVENTS
    config.graceful_timeout = REQUESTS_SHARE * settings.shutdown_timeout_seconds
    config.shutdown_timeout = settings.shutdown_timeout_seconds
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn.error")
    return config
