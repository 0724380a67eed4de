"""Both stores stand still: soon callers are answered at once, and hear when to come again."""

import asyncio
import time
from dataclasses import dataclass, field

import httpx
import pytest

from tests.support.faults.servers import pause, resume
from tests.support.half_sent import DEFINE
from tests.support.stack import Stack

QUESTION = {"batch_id": "batch-1", "requested_pipeline": "cj_assessment"}
CALLERS = 20
MOMENT_SECONDS = 15
MEASURED_SECONDS = 25
QUICK_SECONDS = 0.5

pytestmark = [pytest.mark.timeout(240), pytest.mark.alone]


@dataclass
class Callers:
    """Callers that ask again and again, and how long each answer took."""

    address: str
    answers: list[tuple[float, float, httpx.Response]] = field(default_factory=list)

    async def ask_for(self, seconds: float) -> None:
        """Ask at most five times a second each."""
        async with httpx.AsyncClient(base_url=self.address, timeout=60) as client:
            deadline = time.monotonic() + seconds
            await asyncio.gather(*(self._ask(client, deadline) for _ in range(CALLERS)))

    async def _ask(self, client: httpx.AsyncClient, deadline: float) -> None:
        while time.monotonic() < deadline:
            began = time.monotonic()
            response = await client.post(DEFINE, json=QUESTION)
            self.answers.append((began, time.monotonic() - began, response))
            await asyncio.sleep(0.2)


async def test_callers_of_stores_that_stand_still_are_answered_at_once(stack: Stack) -> None:
    processes = [stack.redis._process, stack.postgres._process]
    with stack.serve() as (_, address):
        callers = Callers(address)
        await callers.ask_for(1)
        for each in processes:
            pause(each)
        stopped_at = time.monotonic()
        try:
            await callers.ask_for(MOMENT_SECONDS + MEASURED_SECONDS)
        finally:
            for each in processes:
                resume(each)

        later = [one for one in callers.answers if one[0] > stopped_at + MOMENT_SECONDS]
        quick = [seconds for _, seconds, _ in later if seconds < QUICK_SECONDS]
        assert len(later) > CALLERS * MEASURED_SECONDS
        assert len(quick) / len(later) >= 0.95
        assert {response.status_code for *_, response in later} == {503}
        waits = {int(response.headers["Retry-After"]) for *_, response in later}
        assert all(1 <= seconds <= 3 for seconds in waits), waits

        await asyncio.sleep(max(waits))

        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            deadline = time.monotonic() + 30
            while (await client.post(DEFINE, json=QUESTION)).status_code != 200:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)
