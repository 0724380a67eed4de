"""Redis dies, hangs, is full, is emptied, or comes back with less than it said it had."""

import asyncio

from tests.support.builders import essay_names, minutes, registered, spellchecked
from tests.support.faults.world import World

ESSAYS = essay_names(5)


async def test_a_tail_cut_off_redis_never_hides_a_failure_that_postgres_holds(
    world: World,
) -> None:
    batch = "batch-tail"
    complete = [registered(batch, 5), *(spellchecked(batch, essay) for essay in ESSAYS)]
    await world.send_and_settle(complete)
    before = world.servers.redis_files
    [path] = before.glob("*.incr.aof")
    size = path.stat().st_size
    await world.send_and_settle([spellchecked(batch, ESSAYS[0], "failed", minutes(30))])

    await world.servers.run(world.servers.redis.kill)
    world.servers.cut_redis_tail(path.stat().st_size - size)
    await world.servers.run(world.servers.redis.start)
    for _ in range(20):
        await world.caller.ask(world.model.batches[0], "cj_assessment", world.member.address)
        await asyncio.sleep(0.1)

    await world.recover_and_check()
