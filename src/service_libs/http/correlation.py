"""The correlation id of a request: taken from the caller, bound to every log line, given back."""

from uuid import uuid4

import structlog
from quart import g, request

from common_core.identifiers import MAX_CORRELATION_LENGTH

CORRELATION_HEADER = "X-Correlation-ID"


def begin_correlation() -> None:
    """Take the id from the header, or make one: an altered id would lead nowhere."""
    structlog.contextvars.clear_contextvars()
    given = request.headers.get(CORRELATION_HEADER, "")
    adopt_correlation(given if _fits_header(given) else str(uuid4()))


def adopt_correlation(correlation_id: str) -> None:
    """Use this id from here on: the body's goes before the header's."""
    g.correlation_id = correlation_id
    structlog.contextvars.bind_contextvars(correlation_id=correlation_id)


def correlation_id() -> str:
    """Return the id of the current request, as it is."""
    return str(g.get("correlation_id", ""))


def correlation_header() -> str | None:
    """Return the id, if a header can carry it as it is."""
    carried = correlation_id()
    return carried if _fits_header(carried) else None


def _fits_header(text: str) -> bool:
    """Whether the text arrives unaltered in a header, and is bounded."""
    is_printable = text.isascii() and text.isprintable() and text == text.strip()
    return is_printable and 0 < len(text) <= MAX_CORRELATION_LENGTH
