"""Events enough to be in the middle of, for tests that break one thing at a time."""

import asyncio
from collections.abc import Awaitable
from random import Random

from tests.support.builders import RecordedEvent
from tests.support.faults.workload import interleaved, random_histories
from tests.support.faults.world import World

BATCHES = 12
ESSAYS = 8
SENDING_SECONDS = 2.5


def load(seed: int, *, batches: int = BATCHES) -> tuple[list[RecordedEvent], list[RecordedEvent]]:
    """Return what is sent first, and what is sent while something breaks."""
    random = Random(seed)
    histories = random_histories(random, batches, ESSAYS)
    early = interleaved(random, [history.early for history in histories])
    return early, interleaved(random, [history.late for history in histories])


async def break_under_load(world: World, breaking: Awaitable[None], *, seed: int = 7) -> None:
    """Settle some events, then send more, ask, and break something, all at once."""
    early, late = load(seed)
    await world.send_and_settle(early)

    async def strike() -> None:
        await breaking

    async with world.asking(Random(seed)), asyncio.TaskGroup() as group:
        group.create_task(world.relay.send(late, over_seconds=SENDING_SECONDS))
        group.create_task(strike())
