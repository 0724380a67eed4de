"""What ends a process that serves: the first signal in order, a second one at once."""

import asyncio
import logging
import os
import signal
import threading

import structlog

SIGNALS = (signal.SIGTERM, signal.SIGINT)
FAILURE = 1  # exit code

logger = structlog.get_logger(__name__)


def on_signals(timeout_seconds: float) -> asyncio.Event:
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
