"""Postgres refuses: for a moment, for good, or for want of room."""

import asyncio

import asyncpg

from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.persisting.codec import encode_update
from common_core.topics import PERSISTENCE_BASE_TOPIC, dlq_topic_name
from tests.support.builders import essay_names, evidence, registered, spellchecked, update
from tests.support.faults.loads import load
from tests.support.faults.world import World
from tests.support.kafka import unique
from tests.support.servers import plain_url
from tests.support.waiting import eventually


async def test_the_victim_of_a_deadlock_tries_again(world: World) -> None:
    early, late = load(21)
    await world.send_and_settle(early)
    other = await asyncpg.connect(plain_url(world.servers.postgres.url))
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'bcs'"
    before = await other.fetchval(query)
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE processing_pipeline_state IN EXCLUSIVE MODE")
            await world.relay.send(late)

            async def waits() -> bool:
                return bool(await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            await eventually(waits, what="a write that waits for the lock")
            await other.execute("LOCK TABLE essay_step_evidence IN ACCESS EXCLUSIVE MODE")
    finally:
        await other.close()

    onlooker = await asyncpg.connect(plain_url(world.servers.postgres.url))
    try:

        async def has_counted() -> bool:
            return bool(await onlooker.fetchval(query) > before)

        await eventually(has_counted, what="a deadlock")
        world.note_fired("postgres_deadlock")
    finally:
        await onlooker.close()
    await world.recover_and_check()


async def test_one_row_of_five_hundred_that_postgres_refuses_stands_alone(world: World) -> None:
    batch, essays = unique("batch"), essay_names(499)
    world.expects_dead_letters = True
    letters = await world.onlooker.ends([dlq_topic_name(PERSISTENCE_BASE_TOPIC)])
    await world.send_and_settle([registered(batch, 499)])
    await world.servers.run(world.servers.postgres.kill)
    await world.relay.send([spellchecked(batch, essay) for essay in essays])
    # Of another batch: what it was about is kept as unreadable, which Redis has not heard of.
    refused = update(unique("batch"), evidence("essay-1", storage_id="a\0b"))
    poison = encode_update(refused)
    await world.onlooker.redis.xadd(keys.PERSISTENCE_QUEUE, {"update": poison})
    await asyncio.sleep(1)

    await world.recover_and_check()

    after = await world.onlooker.ends([dlq_topic_name(PERSISTENCE_BASE_TOPIC)])
    assert sum(after.values()) - sum(letters.values()) == 1
