"""Logging: one line an event, JSON unless a person reads along at a terminal.

Our own events and the records of the libraries go the same way, so that one format leaves the
process.
"""

import io
import json
import logging
import math
import re
import sys
import time
from contextlib import suppress
from functools import cache, partial
from typing import TextIO

import orjson
import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from common_core.printable import escaped, escaped_block

logger = structlog.get_logger(__name__)

# The last defence: no setting with a password is ever logged, but a driver may quote its address.
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^:/@\s]*):[^@/\s]+@")
_CHATTY = ("aiokafka", "hypercorn.error", "sqlalchemy.engine", "uvicorn.error", "httpx")

_AS_IT_IS = (
    orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_NON_STR_KEYS
)
_REPETITION_SECONDS = 30
_MAX_REMEMBERED = 100  # messages


class RepetitionFilter(logging.Filter):
    """Lets a library's message through once in a while: aiokafka logs every failed connection."""

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is one of ours, or has not been logged lately."""
        if not record.name.startswith(_CHATTY):
            return True
        key = (record.name, record.getMessage())
        if record.created - self._logged_at.get(key, -math.inf) < _REPETITION_SECONDS:
            return False
        if len(self._logged_at) >= _MAX_REMEMBERED:
            self._logged_at.clear()
        self._logged_at[key] = record.created
        return True


class DemotionFilter(logging.Filter):
    """Makes warnings of aiokafka's errors: it tries again, as it does with a broker that starts.

    What needs a person is said by us, who know for how long it has lasted.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return that the record is logged; a traceback stays an error."""
        is_theirs = record.name.startswith("aiokafka") and not record.exc_info
        if is_theirs and record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


class LineLogger:
    """Writes lines to a stream, each at once. Of our own events all has been decided before."""

    def __init__(self, stream: TextIO, name: str = "") -> None:
        self.name = name
        self._stream = stream

    def write(self, line: str) -> None:
        """Write the line; where nobody reads any more, or the disk is full, it is lost alone."""
        with suppress(OSError, ValueError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    debug = info = warning = error = critical = write


class LossLog:
    """Logs how many were lost: the first at once, then once in an interval, in the end all."""

    def __init__(self, event: str, interval_seconds: float) -> None:
        self._event = event
        self._interval_seconds = interval_seconds
        self._unlogged = 0
        self._due = time.monotonic()

    def add(self) -> None:
        """Note that one was lost."""
        self._unlogged += 1
        self.log_if_due()

    def log_if_due(self) -> None:
        """Log those that are not logged, if the interval is over."""
        if time.monotonic() >= self._due:
            self.log()

    def log(self) -> None:
        """Log those that are not logged."""
        if self._unlogged:
            logger.warning(self._event, count=self._unlogged, reason="too many wait")
            self._unlogged = 0
            self._due = time.monotonic() + self._interval_seconds


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send all logging of the process to the stream (standard output) from this level on.

    Our own events go past the standard library, which takes several times as long for a line: two
    of them are a tenth of an answer.
    """
    stream = stream or sys.stdout
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering = _rendering(is_terminal=stream.isatty())
    structlog.configure(
        processors=[*shared, *rendering],
        logger_factory=cache(partial(LineLogger, stream)),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(RepetitionFilter())
    handler.addFilter(DemotionFilter())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _rendering(*, is_terminal: bool) -> list[Processor]:
    if is_terminal:
        # Tracebacks without the values of variables: any of them may be a secret.
        readable = structlog.dev.ConsoleRenderer(exception_formatter=_plain_traceback)
        return [_escape_values, readable, _mask_passwords]
    return [
        structlog.processors.format_exc_info,
        _lead_with_what_is_read_first,
        structlog.processors.JSONRenderer(_to_json),
        _escape_line,
        _mask_passwords,
    ]


def _to_json(event: EventDict, **_options: object) -> str:
    """Return the event as JSON; what orjson does not write as it is, the slower library does."""
    try:
        return orjson.dumps(event, default=str, option=_AS_IT_IS).decode()
    except orjson.JSONEncodeError:
        return json.dumps(event, default=str, ensure_ascii=False)


def _lead_with_what_is_read_first(
    _logger: WrappedLogger, _method: str, event: EventDict
) -> EventDict:
    first = ("timestamp", "level", "event")
    return {name: event[name] for name in first if name in event} | dict(event)


def _escape_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape before the renderer adds colours, which are control characters, too."""
    return {
        escaped(name): escaped(value) if isinstance(value, str) else value
        for name, value in event.items()
    }


def _escape_line(_logger: WrappedLogger, _method: str, rendered: EventDict | str) -> str:
    """Escape what JSON may have as it is; it can only stand in strings."""
    return escaped(str(rendered))


def _plain_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    stream.write(escaped_block(plain.getvalue()))


def _mask_passwords(_logger: WrappedLogger, _method: str, rendered: EventDict | str) -> str:
    text = str(rendered)
    return _PASSWORD_IN_URL.sub(r"\1:***@", text) if "://" in text else text
