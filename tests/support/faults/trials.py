"""One random trial: a seed gives the events, the faults, their times and the questions."""

import asyncio
import os
from random import Random

from tests.support.faults.nemesis import Nemesis
from tests.support.faults.workload import interleaved, random_histories
from tests.support.faults.world import World

SEED = int(os.environ.get("SEED") or "1")
TRIALS = int(os.environ.get("FAULT_TRIALS") or ("1" if os.environ.get("SEED") else "5"))

BATCHES = 16
ESSAYS = 11
SENDING_SECONDS = 2.0
LONGEST_FAULT_SECONDS = 1.5


async def run_trial(world: World, seed: int) -> None:
    """Run the trial of that seed.

    Raises:
        AssertionError: a promise was broken; the message has the seed and the trace.
    """
    try:
        await _run_trial(world, Random(seed))
    except BaseException as exc:
        exc.add_note(f"Replay with: make faults SEED={seed}")
        raise


async def _run_trial(world: World, random: Random) -> None:
    nemesis = Nemesis(random, longest_seconds=LONGEST_FAULT_SECONDS)
    faults = nemesis.choose(random.randint(1, 4))
    histories = random_histories(random, BATCHES, ESSAYS)
    world.journal.note("planned", faults=faults)
    await world.send_and_settle(interleaved(random, [h.early for h in histories]))
    late = interleaved(random, [history.late for history in histories])
    async with world.asking(Random(random.random())), asyncio.TaskGroup() as group:
        group.create_task(world.relay.send(late, over_seconds=SENDING_SECONDS))
        group.create_task(nemesis.strike(world, faults))
    await world.recover_and_check()
