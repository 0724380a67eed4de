"""The audit's own way out: a line of JSON a request to standard output, whatever else is logged.

A line through the log of the process costs more than all the rest of a request. So lines are made
here, in the same form, and those of one turn of the event loop are written together.
"""

import asyncio
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

import orjson

from common_core.printable import escaped

EVENT = "request_audited"
LOGGER = "api_gateway_service.audit"


class StreamAuditLog:
    """`AuditLogProtocol` on a stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._lines: list[str] = []

    def write(self, fields: Mapping[str, str | int | float | None]) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_soon(self.flush)
        self._lines.append(_line(fields))

    def flush(self) -> None:
        """Write what is not written yet."""
        lines, self._lines = self._lines, []
        self._stream.write("".join(lines))
        self._stream.flush()


def _line(fields: Mapping[str, str | int | float | None]) -> str:
    """Return the line; nothing in it ends it, or has a terminal do something."""
    line = {
        "timestamp": datetime.now(UTC).isoformat(),
        "level": "info",
        "event": EVENT,
        **fields,
        "logger": LOGGER,
    }
    return escaped(orjson.dumps(line).decode()) + "\n"
