"""What happens to Redis."""

import asyncio
from contextlib import suppress

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from tests.support.faults import proxy
from tests.support.faults.harm import kill_for, lose_replies, reset_for, silence_for, stop_for
from tests.support.faults.world import World


async def redis_killed(world: World, seconds: float) -> None:
    """Killed; comes back with its file."""
    await kill_for(world, "redis", seconds)


async def redis_stopped(world: World, seconds: float) -> None:
    """Stands still, with its connections open."""
    await stop_for(world, "redis", seconds)


async def redis_wiped(world: World, seconds: float) -> None:
    """Killed, and comes back empty."""
    await world.servers.run(world.servers.redis.kill)
    world.servers.wipe_redis()
    await asyncio.sleep(seconds)
    await world.servers.run(world.servers.redis.start)
    world.note_fired("redis_wiped")


async def redis_tail_cut(world: World, seconds: float) -> None:
    """Killed, and comes back without the end of its file, as after a power cut."""
    await world.servers.run(world.servers.redis.kill)
    cut = world.servers.cut_redis_tail(int(2000 + 20_000 * seconds))
    await world.servers.run(world.servers.redis.start)
    if cut:  # it may have been wiped before
        world.note_fired("redis_tail_cut", bytes=cut)


async def redis_flushed(world: World, seconds: float) -> None:
    """Emptied by somebody, while it runs."""
    async with Redis.from_url(world.servers.redis.url) as redis:
        held = await redis.dbsize()
        await redis.flushall()
    if held:  # it may have been wiped before
        world.note_fired("redis_flushed", keys=held)
    await asyncio.sleep(seconds)


async def redis_out_of_memory(world: World, seconds: float) -> None:
    """Refuses every write."""
    async with Redis.from_url(world.servers.redis.url) as redis:
        await redis.config_set("maxmemory", "1")
        with suppress(OutOfMemoryError):
            await redis.set("bcs:not-written", "1")
            raise AssertionError("Redis took a write without memory")
        await asyncio.sleep(seconds)
        await redis.config_set("maxmemory", "0")
    world.note_fired("redis_out_of_memory")


async def redis_replies_lost(world: World, seconds: float) -> None:
    """Executes transactions whose replies never arrive."""
    await lose_replies(world, "redis", proxy.redis_exec, seconds)


async def redis_reset(world: World, seconds: float) -> None:
    """Every connection is reset, again and again."""
    await reset_for(world, "redis", seconds)


async def redis_silent(world: World, seconds: float) -> None:
    """Half-open connections: everything is taken, nothing comes."""
    await silence_for(world, "redis", seconds)
