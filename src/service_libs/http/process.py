"""The process that serves: one Hypercorn, one event loop, and an end that loses nothing.

The first signal makes the service unready, closes the door, and lets everything that was let in
finish; a second one, or the deadline, ends the process at once.
"""

import gc
import logging

import structlog
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError
from quart import Quart

from service_libs.health import HealthMonitor
from service_libs.http.listener import Listener
from service_libs.http.server import serve_http
from service_libs.http.signals import FAILURE, on_signals

logger = structlog.get_logger(__name__)

REQUESTS_SHARE = 0.3  # of the shutdown's time, for what is being answered
LET_GO_SHARE = 0.15  # of the shutdown's time, for callers to part from their connections
GARBAGE_THRESHOLD = 10_000  # new objects before the young ones are searched: some 50 requests
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
    stopping = on_signals(shutdown_timeout_seconds)

    async def wait_for_the_end() -> None:
        await stopping.wait()
        monitor.begin_shutdown()

    # What is there now stays until the end. Searched for garbage again and again, as much as the
    # modules hold makes every answer that falls into such a search wait for some 50 ms.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
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


def hypercorn_config(shutdown_timeout_seconds: float) -> Config:
    """Return how the server behaves."""
    config = Config()
    config.max_app_queue_size = QUEUED_EVENTS
    config.graceful_timeout = REQUESTS_SHARE * shutdown_timeout_seconds
    config.shutdown_timeout = shutdown_timeout_seconds
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn.error")
    return config
