"""Redis and Postgres down together: what is not known is not pruned, and nothing is lost."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.support.builders import essay_names, registered, spellchecked
from tests.support.faults.loads import break_under_load, load
from tests.support.faults.servers import process_of
from tests.support.faults.world import World
from tests.support.kafka import unique


@pytest.mark.parametrize("order", [("redis", "postgres"), ("postgres", "redis")])
async def test_both_stores_may_go_and_come_back_in_either_order(
    world: World, order: Sequence[str]
) -> None:
    async def both_die() -> None:
        for name in order:
            await world.servers.run(process_of(getattr(world.servers, name)).kill)
        world.note_fired("both_killed")
        await asyncio.sleep(2)
        for name in order:
            await asyncio.sleep(1)
            await world.servers.run(getattr(world.servers, name).start)

    await break_under_load(world, both_die())

    await world.recover_and_check()


async def test_a_redis_wiped_while_postgres_is_down_prunes_nothing(world: World) -> None:
    batch, essays = unique("batch"), essay_names(4)
    complete = [registered(batch, 4), *(spellchecked(batch, essay) for essay in essays)]
    early, late = load(11)
    await world.send_and_settle([*complete, *early])

    await world.servers.run(world.servers.postgres.kill)
    await world.servers.run(world.servers.redis.kill)
    world.servers.wipe_redis()
    await world.servers.run(world.servers.redis.start)
    sending = asyncio.create_task(world.relay.send(late, over_seconds=1))
    for _ in range(10):
        for known in world.model.batches:
            answer = await world.caller.ask(known, "cj_assessment", world.member.address)
            assert answer is None or answer.skipped == []
        await asyncio.sleep(0.1)
    await sending

    await world.recover_and_check()
    assert world.caller.statuses["degraded"]
