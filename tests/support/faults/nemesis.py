"""Faults by name. Each one happens, lasts, and is healed; and shows that it really happened.

A seed chooses which, when and how long.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from random import Random

from tests.support.faults import kafka_faults, postgres_faults, redis_faults, service_faults
from tests.support.faults.world import World

Fault = Callable[[World, float], Coroutine[None, None, None]]  # the world, and how long in seconds

FAULTS: Mapping[str, Fault] = {
    fault.__name__: fault
    for fault in (
        redis_faults.redis_killed,
        redis_faults.redis_stopped,
        redis_faults.redis_wiped,
        redis_faults.redis_tail_cut,
        redis_faults.redis_flushed,
        redis_faults.redis_out_of_memory,
        redis_faults.redis_replies_lost,
        redis_faults.redis_reset,
        redis_faults.redis_silent,
        postgres_faults.postgres_killed,
        postgres_faults.postgres_stopped,
        postgres_faults.postgres_locked,
        postgres_faults.postgres_read_only,
        postgres_faults.postgres_full,
        postgres_faults.postgres_column_gone,
        postgres_faults.postgres_backends_ended,
        postgres_faults.postgres_commits_lost,
        postgres_faults.postgres_reset,
        postgres_faults.postgres_silent,
        kafka_faults.kafka_killed,
        kafka_faults.kafka_stopped,
        kafka_faults.kafka_reset,
        kafka_faults.kafka_silent,
        kafka_faults.kafka_commits_lost,
        service_faults.service_killed,
        service_faults.service_stopped,
        service_faults.service_ended,
        service_faults.member_comes_and_goes,
        service_faults.everything_slow,
    )
}


def owner_of(fault: str) -> str:
    """Return whom a fault happens to; two faults of one owner do not overlap."""
    return fault.partition("_")[0]


class Nemesis:
    """Chooses faults by a seed and lets them happen, one owner's after the other."""

    def __init__(self, random: Random, *, longest_seconds: float) -> None:
        self._random = random
        self._longest_seconds = longest_seconds

    def choose(self, count: int) -> list[str]:
        """Return so many faults."""
        return self._random.choices(sorted(FAULTS), k=count)

    async def strike(self, world: World, faults: list[str]) -> None:
        """Let the faults happen; those of different owners at the same time."""
        owners = {
            owner_of(fault): [f for f in faults if owner_of(f) == owner_of(fault)]
            for fault in faults
        }
        durations = {fault: self._random.uniform(0.2, self._longest_seconds) for fault in faults}

        async def strike_one(mine: list[str], delay: float) -> None:
            await asyncio.sleep(delay)
            for fault in mine:
                world.journal.note("strikes", fault=fault, seconds=round(durations[fault], 2))
                await FAULTS[fault](world, durations[fault])

        async with asyncio.TaskGroup() as group:
            for mine in owners.values():
                group.create_task(strike_one(mine, self._random.uniform(0, 0.5)))
