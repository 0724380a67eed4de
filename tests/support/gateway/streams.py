"""A listener to a batch's events, as a page is one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.waiting import eventually


@dataclass
class Stream:
    """What was heard, in order; `has_ended` once the service has ended it in order."""

    status_code: int
    headers: httpx.Headers
    events: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    has_ended: bool = False

    async def until(self, count: int, seconds: float = 10) -> list[dict[str, Any]]:
        """Wait until so many events were heard."""

        async def were_heard() -> bool:
            return len(self.events) >= count

        await eventually(were_heard, timeout_seconds=seconds, what=f"{count} events")
        return self.events

    async def until_ended(self, seconds: float = 10) -> None:
        """Wait for the end."""

        async def has_ended() -> bool:
            return self.has_ended

        await eventually(has_ended, timeout_seconds=seconds, what="the end of the stream")


@asynccontextmanager
async def listening(address: str, batch: str, headers: dict[str, str]) -> AsyncIterator[Stream]:
    """Listen until the end of the block."""
    async with (
        httpx.AsyncClient(base_url=address, timeout=30) as client,
        client.stream("GET", f"/v1/batches/{batch}/events", headers=headers) as response,
    ):
        stream = Stream(response.status_code, response.headers)
        reading = asyncio.create_task(_read(response, stream))
        try:
            yield stream
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _read(response: httpx.Response, stream: Stream) -> None:
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            stream.ids.append(value)
        if name == "data":
            stream.events.append(json.loads(value))
    stream.has_ended = True
