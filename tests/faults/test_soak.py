"""A long time under steady load while things break: nothing grows, and nothing is lost."""

import asyncio
import os
import time
from dataclasses import asdict
from random import Random

from tests.support.faults.nemesis import FAULTS, Nemesis
from tests.support.faults.servers import process_of
from tests.support.faults.usage import Usage, growth_per_minute, measure
from tests.support.faults.workload import interleaved, random_histories
from tests.support.faults.world import World

MINUTES = float(os.environ.get("MINUTES") or "5")
SEED = int(os.environ.get("SEED") or "1")
BATCHES = 25
ESSAYS = 12
ROUND_SECONDS = 6.0
QUIET_ROUNDS = 4  # of five; in the fifth something breaks

# A process that is started again has nothing to grow; all else may happen to the one that lasts.
LASTING = sorted(set(FAULTS) - {"service_killed", "service_ended"})

MOST_MEMORY_MIB = 400
MOST_DESCRIPTORS = 250
MOST_MEMORY_GROWTH_MIB = 1.5  # a minute
MOST_DESCRIPTOR_GROWTH = 1.5  # a minute


async def test_nothing_grows_under_steady_load_while_things_break(world: World) -> None:
    random = Random(SEED)
    nemesis = Nemesis(random, longest_seconds=2)
    started, usages = time.monotonic(), list[Usage]()
    process = process_of(world.member)
    number = 0
    while (minutes := (time.monotonic() - started) / 60) < MINUTES:
        histories = random_histories(random, BATCHES, ESSAYS)
        events = interleaved(random, [[*h.early, *h.late] for h in histories])
        async with world.asking(random), asyncio.TaskGroup() as group:
            group.create_task(world.relay.send(events, over_seconds=ROUND_SECONDS))
            if number % (QUIET_ROUNDS + 1) == QUIET_ROUNDS:
                group.create_task(nemesis.strike(world, random.choices(LASTING, k=1)))
        await world.servers.heal()
        await world.onlooker.wait_until_quiet()
        assert process.pid is not None, "the process died"
        usages.append(measure(process.pid, minutes))
        world.journal.note("usage", **asdict(usages[-1]))
        number += 1

    await world.recover_and_check()
    report = {
        what: round(growth_per_minute(usages, what), 2) for what in ("memory_mib", "descriptors")
    }
    print({"rounds": number, "last": asdict(usages[-1]), "growth": report, "faults": world.fired})  # noqa: T201 - the figures are what it is for
    assert usages[-1].memory_mib < MOST_MEMORY_MIB
    assert max(usage.descriptors for usage in usages) < MOST_DESCRIPTORS
    assert report["memory_mib"] < MOST_MEMORY_GROWTH_MIB
    assert report["descriptors"] < MOST_DESCRIPTOR_GROWTH
