"""The audit: a line of JSON a request on standard output, at whatever level else is logged.

It goes past all logging, which costs more than the layers around a route together.
"""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

import orjson

from common_core.printable import escaped

LOGGER = "api_gateway_service.audit"


class StreamAuditLog:
    """`AuditLogProtocol` on a stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def write(self, fields: Mapping[str, str | int | float | None]) -> None:
        line = {
            "logger": LOGGER,
            **fields,
            "event": "request_audited",
            "level": "info",
            "timestamp": datetime.now(UTC),
        }
        # Nothing in it ends the line, or has a terminal do something.
        text = escaped(orjson.dumps(line, option=orjson.OPT_UTC_Z).decode())
        self._stream.write(f"{text}\n")
        self._stream.flush()
