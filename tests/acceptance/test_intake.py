"""Callers that send no more than the half of what they announce keep nobody else out."""

import asyncio
import re
import socket
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.support.api import DEFINE
from tests.support.half_sent import MEBIBYTE, HalfSent, half_sent, head
from tests.support.processes import ServiceProcess, serving_process

QUESTION = {"batch_id": "batch-1", "requested_pipeline": "cj_assessment"}
ATTACKERS = 2_000
MEMORY_BYTES = 512 * MEBIBYTE
TOKEN = {"SERVICE_TOKEN": "s3cret"}
BEARER = {"Authorization": "Bearer s3cret"}
LARGE = head(MEBIBYTE) + b" " * (MEBIBYTE // 2)
LARGE_WITH_TOKEN = head(MEBIBYTE, **BEARER) + b" " * (MEBIBYTE // 2)


class Bystander:
    """A caller who has nothing to do with the others, and how it fared."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.statuses: Counter[int] = Counter()
        self.slowest_seconds = 0.0

    async def ask_while(self, other: asyncio.Task[None]) -> None:
        """Ask for life and for a pipeline, each over a connection of its own, until that ends."""
        while not other.done():
            await self._ask("GET", "/livez")
            await self._ask("POST", DEFINE)

    async def _ask(self, method: str, path: str) -> None:
        began = time.monotonic()
        async with httpx.AsyncClient(base_url=self._address, timeout=10) as client:
            json = QUESTION if method == "POST" else None
            response = await client.request(method, path, json=json, headers=BEARER)
        self.statuses[response.status_code] += 1
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)


def peak_memory(process: ServiceProcess) -> int:
    """Return the most bytes that the process has had resident."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kibibytes) * 1024


async def hold_on(callers: HalfSent, data: bytes) -> None:
    await callers.begin(ATTACKERS, data)
    await asyncio.sleep(3)


@pytest.mark.parametrize(
    ("settings", "data"),
    [
        ({}, LARGE),
        (TOKEN, LARGE),
        (TOKEN, LARGE_WITH_TOKEN),
        ({}, head(300) + b"{"),
        ({}, b"POST / HTTP/1.1\r\nHost: bcs\r\nX-Slow: "),
        ({}, b""),
    ],
    ids=["large", "large-without-token", "large-with-token", "small", "half-a-head", "nothing"],
)
async def test_others_are_served_beside_two_thousand_that_never_end(
    settings: dict[str, str], data: bytes
) -> None:
    with serving_process(**settings) as (process, address):
        async with half_sent(address) as callers:
            bystander = Bystander(address)
            await bystander.ask_while(asyncio.create_task(hold_on(callers, data)))

        assert set(bystander.statuses) == {200}
        assert bystander.slowest_seconds < 1
        assert peak_memory(process) < MEMORY_BYTES
        print(bystander.statuses, bystander.slowest_seconds, peak_memory(process) / MEBIBYTE)
