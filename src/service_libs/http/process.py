"""The process that serves: one Hypercorn, one event loop, and an end that loses nothing.

The first signal makes the service unready, closes the door, and lets everything that was let in
finish; a second one, or the deadline, ends the process at once.
"""

import asyncio
import gc
import logging
import os
import signal
import threading

import structlog
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError
from quart import Quart

from service_libs.health import HealthMonitor
from service_libs.http.listener import Listener
from service_libs.http.server import serve_http

logger = structlog.get_logger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
FAILURE = 1  # exit code
REQUESTS_SHARE = 0.3  # of the shutdown's time, for what is being answered
LET_GO_SHARE = 0.15  # of the shutdown's time, for callers to part from their connections
QUEUED_EVENTS = 2  # of a request: a body that came with it, and its end


async def serve_until_stopped(
    app: Quart,
    monitor: HealthMonitor,
    listener: Listener,
    *,
    max_connections: int,
    shutdown_timeout_seconds: float,
) -> int:
    """Serve the application until a signal; return the exit code, 0 only after a clean end."""
    stopping = _on_signals(shutdown_timeout_seconds)

    async def wait_for_the_end() -> None:
        await stopping.wait()
        monitor.begin_shutdown()

    # What is there now stays until the end. Searched for garbage again and again, as much as the
    # modules hold makes every answer that falls into such a search wait for some 50 ms.
    gc.collect()
    gc.freeze()
    logger.info("serving", port=listener.port)
    try:
        await serve_http(
            app,
            hypercorn_config(shutdown_timeout_seconds),
            listener,
            max_connections=max_connections,
            let_go_seconds=LET_GO_SHARE * shutdown_timeout_seconds,
            until=wait_for_the_end,
        )
    except LifespanFailureError as exc:
        logger.critical("serving_failed", reason=str(exc))
        return FAILURE
    finally:
        listener.close()
    logger.info("stopped")
    return 0


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


def hypercorn_config(shutdown_timeout_seconds: float) -> Config:
    """Return how the server behaves."""
    config = Config()
    config.max_app_queue_size = QUEUED_EVENTS
    config.graceful_timeout = REQUESTS_SHARE * shutdown_timeout_seconds
    config.shutdown_timeout = shutdown_timeout_seconds
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn.error")
    return config
