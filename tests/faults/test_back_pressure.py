"""Postgres is away for longer than there is room: consumption pauses, and nothing is lost."""

import asyncio
import json

from batch_conductor_service.implementations.redis import keys
from tests.support.faults.loads import load
from tests.support.faults.servers import process_of
from tests.support.faults.world import World
from tests.support.waiting import eventually

HIGH_WATER = 60
MOST_RECORDS = 20  # of a poll
ROOM_BYTES = 60_000


async def test_a_long_outage_of_postgres_pauses_consumption(world: World) -> None:
    early, late = load(51, batches=60)
    await world.send_and_settle(early)
    await _restart(world, high_water=HIGH_WATER)
    await world.servers.run(world.servers.postgres.kill)
    half = len(late) // 2

    await world.relay.send(late[:half], over_seconds=3)
    await _wait_until_consumer_is(world, "paused")
    world.note_fired("postgres_away_until_consumption_paused")
    queued = await world.onlooker.redis.xlen(keys.PERSISTENCE_QUEUE)
    await world.relay.send(late[half:], over_seconds=3)

    [paused] = [json.loads(line) for line in world.member.log.splitlines() if "_paused" in line]
    assert paused["waiting"] > HIGH_WATER  # records; those of a batch may be one entry of the queue
    assert await world.onlooker.redis.xlen(keys.PERSISTENCE_QUEUE) == queued
    assert sum((await world.onlooker.find_uncommitted()).values()) >= half
    await world.recover_and_check()
    assert await world.consumer_state() == "consuming"


async def test_a_queue_that_fills_redis_is_drained_without_more_room(world: World) -> None:
    early, late = load(52, batches=60)
    await world.send_and_settle(early)
    await _restart(world)
    used = int((await world.onlooker.redis.info("memory"))["used_memory"])
    await world.onlooker.redis.config_set("maxmemory", used + ROOM_BYTES)
    await world.servers.run(world.servers.postgres.kill)

    sending = asyncio.create_task(world.relay.send(late, over_seconds=4))
    await _wait_until_consumer_is(world, "waiting")
    world.note_fired("postgres_away_until_redis_was_full")
    await world.servers.run(world.servers.postgres.start)

    async def is_drained() -> bool:
        return not await world.onlooker.redis.xlen(keys.PERSISTENCE_QUEUE)

    await eventually(is_drained, timeout_seconds=30, what="the end of what was queued")
    await world.onlooker.redis.config_set("maxmemory", 0)
    await sending
    await world.recover_and_check()


async def _restart(world: World, high_water: int = 50_000) -> None:
    await world.servers.run(process_of(world.member).stop)
    await world.servers.run(
        lambda: world.member.start(
            KAFKA_MAX_POLL_RECORDS=MOST_RECORDS, PERSISTENCE_QUEUE_HIGH_WATER=high_water
        )
    )


async def _wait_until_consumer_is(world: World, state: str) -> None:
    async def is_so() -> bool:
        return await world.consumer_state() == state

    await eventually(is_so, timeout_seconds=30, what=f"a consumer that is {state}")
