"""The correlation id of a request: taken from the caller, bound to every log line, given back."""

from uuid import uuid4

import structlog
from quart import g, request

CORRELATION_HEADER = "X-Correlation-ID"
MAX_CORRELATION_LENGTH = 100  # characters


def begin_correlation() -> None:
    """Take the id from the header, or make one."""
    structlog.contextvars.clear_contextvars()
    adopt_correlation(_printable(request.headers.get(CORRELATION_HEADER, "")) or str(uuid4()))


def adopt_correlation(correlation_id: str) -> None:
    """Use this id from here on: the body's goes before the header's."""
    g.correlation_id = correlation_id
    structlog.contextvars.bind_contextvars(correlation_id=correlation_id)


def correlation_id() -> str:
    """Return the id of the current request, as it is."""
    return str(g.get("correlation_id", ""))


def correlation_header() -> str:
    """Return the id as a header can carry it."""
    return _printable(correlation_id())


def _printable(text: str) -> str:
    """Return what of the text is safe in a header and in a log line, cut to a bounded length."""
    kept = "".join(c for c in text if c.isascii() and c.isprintable())
    return kept.strip()[:MAX_CORRELATION_LENGTH]
