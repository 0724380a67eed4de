"""Redis dies, hangs, is full, is emptied, or comes back with less than it said it had."""

import asyncio
from pathlib import Path

from local_stack.valkey import ValkeyServer
from tests.support.builders import essay_names, minutes, registered, spellchecked
from tests.support.faults.servers import pause, process_of, resume
from tests.support.faults.world import World
from tests.support.kafka import unique
from tests.support.replication import catch_up, follow, promote

ESSAYS = essay_names(5)


async def test_a_tail_cut_off_redis_never_hides_a_failure_that_postgres_holds(
    world: World,
) -> None:
    batch = unique("batch")
    complete = [registered(batch, 5), *(spellchecked(batch, essay) for essay in ESSAYS)]
    await world.send_and_settle(complete)
    before = world.servers.redis_files
    [path] = before.glob("*.incr.aof")
    size = path.stat().st_size
    await world.send_and_settle([spellchecked(batch, ESSAYS[0], "failed", minutes(30))])

    await world.servers.run(world.servers.redis.kill)
    world.servers.cut_redis_tail(path.stat().st_size - size)
    await world.servers.run(world.servers.redis.start)
    await _ask_for_a_while(world)

    await world.recover_and_check()


async def test_a_replica_that_lagged_and_was_promoted_hides_no_failure(
    world: World, tmp_path: Path
) -> None:
    batch = unique("batch")
    complete = [registered(batch, 5), *(spellchecked(batch, essay) for essay in ESSAYS)]
    replica = ValkeyServer(tmp_path / "replica")
    await world.servers.run(replica.start)
    try:
        await follow(replica, world.servers.redis)
        await world.send_and_settle(complete)
        await catch_up(replica, world.servers.redis)
        pause(process_of(replica))
        await world.send_and_settle([spellchecked(batch, ESSAYS[0], "failed", minutes(30))])

        await world.servers.run(world.servers.redis.kill)
        resume(process_of(replica))
        await promote(replica)
        world.servers.redis_proxy.forward_to(replica.port)
        world.note_fired("redis_failed_over")
        await _ask_for_a_while(world)
        await world.relay.send([spellchecked(batch, "essay-late", at=minutes(40))])

        await world.servers.run(world.servers.redis.start)
        await follow(world.servers.redis, replica)
        await catch_up(world.servers.redis, replica)
        await world.servers.run(replica.kill)
        await promote(world.servers.redis)
        world.servers.redis_proxy.heal()
        await world.recover_and_check()
    finally:
        await world.servers.run(replica.kill)


async def _ask_for_a_while(world: World) -> None:
    """Ask about the only batch; each answer is held against the model."""
    for _ in range(20):
        await world.caller.ask(world.model.batches[0], "cj_assessment", world.member.address)
        await asyncio.sleep(0.1)
