"""A caller beside others that are a burden to the service."""

import os
import time
from collections import Counter
from pathlib import Path

import httpx

from tests.support.half_sent import DEFINE

QUESTION = {"batch_id": "batch-1", "requested_pipeline": "cj_assessment"}
BEARER = {"Authorization": "Bearer s3cret"}
TICKS = os.sysconf("SC_CLK_TCK")


class Bystander:
    """Asks for life and for a pipeline, each time over a new connection, and tells how it fared.

    `slowest_life_seconds` is the time that the service itself spent until it answered: what others
    on a busy machine take from the service is no fault of its own.
    """

    def __init__(self, address: str, pid: int) -> None:
        self._address = address
        self._stat = Path(f"/proc/{pid}/stat")
        self.statuses: Counter[int] = Counter()
        self.slowest_life_seconds = 0.0

    async def ask_for(self, seconds: float) -> None:
        """Ask one question after the other, for so long."""
        deadline = time.monotonic() + seconds
        one_each = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(
            base_url=self._address, timeout=20, headers=BEARER, limits=one_each
        ) as client:
            while time.monotonic() < deadline:
                began_at, worked_before = time.monotonic(), self._worked_seconds()
                self.statuses[(await client.get("/livez")).status_code] += 1
                spent = min(time.monotonic() - began_at, self._worked_seconds() - worked_before)
                self.slowest_life_seconds = max(self.slowest_life_seconds, spent)
                self.statuses[(await client.post(DEFINE, json=QUESTION)).status_code] += 1

    def _worked_seconds(self) -> float:
        fields = self._stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
