"""The audit: a line of JSON a request on standard output, at whatever level else is logged.

Its logger goes past the standard library's logging, which costs more than all the rest of a
request.
"""

import sys
from collections.abc import Mapping
from typing import TextIO

import orjson
import structlog
from structlog.typing import EventDict

from common_core.printable import escaped

LOGGER = "api_gateway_service.audit"


class StreamAuditLog:
    """`AuditLogProtocol` on a stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._log = structlog.wrap_logger(
            structlog.WriteLogger(stream or sys.stdout),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(_to_line),
            ],
            wrapper_class=structlog.BoundLogger,
        ).bind(logger=LOGGER)

    def write(self, fields: Mapping[str, str | int | float | None]) -> None:
        self._log.info("request_audited", **fields)


def _to_line(fields: EventDict, **_options: object) -> str:
    """Return the line; nothing in it ends it, or has a terminal do something."""
    return escaped(orjson.dumps(fields).decode())
