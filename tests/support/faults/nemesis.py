"""Faults by name. Each one happens, lasts, and is healed; and shows that it really happened.

A seed chooses which, when and how long.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from random import Random

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from tests.support.faults import proxy
from tests.support.faults.proxy import FaultyProxy, IsMarked
from tests.support.faults.servers import is_paused, pause, process_of, resume
from tests.support.faults.world import World
from tests.support.servers import plain_url

Fault = Callable[[World, float], Coroutine[None, None, None]]  # the world, and how long in seconds


# Redis.


async def redis_killed(world: World, seconds: float) -> None:
    """Killed; comes back with its file."""
    await _kill_for(world, "redis", seconds)


async def redis_stopped(world: World, seconds: float) -> None:
    """Stands still, with its connections open."""
    await _stop_for(world, "redis", seconds)


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
    assert cut > 0
    world.note_fired("redis_tail_cut", bytes=cut)


async def redis_flushed(world: World, seconds: float) -> None:
    """Emptied by somebody, while it runs."""
    async with Redis.from_url(world.servers.redis.url) as redis:
        assert await redis.dbsize() > 0
        await redis.flushall()
    world.note_fired("redis_flushed")
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
    await _lose_replies(world, "redis", proxy.redis_exec, seconds)


async def redis_reset(world: World, seconds: float) -> None:
    """Every connection is reset, again and again."""
    await _reset_for(world, "redis", seconds)


async def redis_silent(world: World, seconds: float) -> None:
    """Half-open connections: everything is taken, nothing comes."""
    await _silence_for(world, "redis", seconds)


# Postgres.


async def postgres_killed(world: World, seconds: float) -> None:
    """Killed; comes back after its recovery."""
    await _kill_for(world, "postgres", seconds)


async def postgres_stopped(world: World, seconds: float) -> None:
    """Stands still with all its backends."""
    await _stop_for(world, "postgres", seconds)


async def postgres_locked(world: World, seconds: float) -> None:
    """Somebody holds the table."""
    connection = await asyncpg.connect(plain_url(world.servers.postgres.url))
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE essay_step_evidence IN ACCESS EXCLUSIVE MODE")
            world.note_fired("postgres_locked")
            await asyncio.sleep(seconds)
    finally:
        await connection.close()


async def postgres_read_only(world: World, seconds: float) -> None:
    """Takes no writes, as a standby or a full disk would not."""
    await _set_read_only(world, "on")
    try:
        await asyncio.sleep(seconds)
    finally:
        await _set_read_only(world, "off")
    world.note_fired("postgres_read_only")


async def postgres_backends_ended(world: World, seconds: float) -> None:
    """An administrator ends every connection of the service."""
    connection = await asyncpg.connect(plain_url(world.servers.postgres.url))
    query = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name = 'batch-conductor-service' AND pid <> pg_backend_pid()"
    )
    try:
        ended = await connection.fetchval(query)
    finally:
        await connection.close()
    world.note_fired("postgres_backends_ended", connections=ended)
    await asyncio.sleep(seconds)


async def postgres_commits_lost(world: World, seconds: float) -> None:
    """Commits transactions whose replies never arrive."""
    await _lose_replies(world, "postgres", proxy.postgres_commit, seconds)


async def postgres_reset(world: World, seconds: float) -> None:
    """Every connection is reset, again and again."""
    await _reset_for(world, "postgres", seconds)


async def postgres_silent(world: World, seconds: float) -> None:
    """Half-open connections."""
    await _silence_for(world, "postgres", seconds)


# Kafka.


async def kafka_killed(world: World, seconds: float) -> None:
    """Killed; comes back with its log."""
    await _kill_for(world, "kafka", seconds)


async def kafka_stopped(world: World, seconds: float) -> None:
    """Stands still; longer than a session, the members are thrown out."""
    await _stop_for(world, "kafka", seconds)


async def kafka_reset(world: World, seconds: float) -> None:
    """Every connection is reset, again and again."""
    await _reset_for(world, "kafka", seconds)


async def kafka_silent(world: World, seconds: float) -> None:
    """Half-open connections."""
    await _silence_for(world, "kafka", seconds)


async def kafka_commits_lost(world: World, seconds: float) -> None:
    """Commits offsets and does not say so."""
    await _lose_replies(world, "kafka", proxy.kafka_offset_commit, seconds)


# The service, and everything.


async def service_killed(world: World, seconds: float) -> None:
    """Killed; started again."""
    process = process_of(world.member)
    assert process.is_running
    await world.servers.run(process.kill)
    world.note_fired("service_killed")
    await asyncio.sleep(seconds)
    await world.servers.run(world.member.launch)


async def service_stopped(world: World, seconds: float) -> None:
    """Stands still; others take over what it had, and then it goes on."""
    process = process_of(world.member)
    pause(process)
    assert is_paused(process)
    await asyncio.sleep(seconds)
    resume(process)
    world.note_fired("service_stopped")


async def service_ended(world: World, seconds: float) -> None:
    """Ended in order, under load; started again."""
    code = await world.servers.run(process_of(world.member).stop)
    world.note_fired("service_ended", exit_code=code)
    await asyncio.sleep(seconds)
    await world.servers.run(world.member.launch)


async def member_comes_and_goes(world: World, seconds: float) -> None:
    """A second process joins the group, and is killed."""
    member = world.other_member
    await world.servers.run(member.start)
    await asyncio.sleep(seconds)
    await world.servers.run(process_of(member).kill)
    world.note_fired("member_comes_and_goes")


async def everything_slow(world: World, seconds: float) -> None:
    """A tenth of a second more, each way, to everything."""
    servers = world.servers
    proxies = (servers.redis_proxy, servers.postgres_proxy, servers.kafka_proxy)
    for each in proxies:
        each.delay_seconds = 0.1
    await asyncio.sleep(seconds)
    for each in proxies:
        each.delay_seconds = 0
    world.note_fired("everything_slow")


FAULTS: Mapping[str, Fault] = {
    fault.__name__: fault
    for fault in (
        redis_killed,
        redis_stopped,
        redis_wiped,
        redis_tail_cut,
        redis_flushed,
        redis_out_of_memory,
        redis_replies_lost,
        redis_reset,
        redis_silent,
        postgres_killed,
        postgres_stopped,
        postgres_locked,
        postgres_read_only,
        postgres_backends_ended,
        postgres_commits_lost,
        postgres_reset,
        postgres_silent,
        kafka_killed,
        kafka_stopped,
        kafka_reset,
        kafka_silent,
        kafka_commits_lost,
        service_killed,
        service_stopped,
        service_ended,
        member_comes_and_goes,
        everything_slow,
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


# What several faults share.


async def _kill_for(world: World, name: str, seconds: float) -> None:
    server = getattr(world.servers, name)
    assert process_of(server).is_running
    await world.servers.run(server.kill)
    world.note_fired(f"{name}_killed")
    await asyncio.sleep(seconds)
    await world.servers.run(server.start)


async def _stop_for(world: World, name: str, seconds: float) -> None:
    process = process_of(getattr(world.servers, name))
    pause(process)
    try:
        assert is_paused(process)
        await asyncio.sleep(seconds)
    finally:
        resume(process)
    world.note_fired(f"{name}_stopped")


async def _lose_replies(world: World, name: str, marked: IsMarked, seconds: float) -> None:
    harmed: FaultyProxy = getattr(world.servers, f"{name}_proxy")
    before = harmed.fired
    harmed.lose_replies(marked, every=2)
    await asyncio.sleep(seconds)
    harmed.lose_replies(marked, every=0)
    if harmed.fired > before:
        what = "commits_lost" if name != "redis" else "replies_lost"
        world.note_fired(f"{name}_{what}", replies=harmed.fired - before)


async def _reset_for(world: World, name: str, seconds: float) -> None:
    harmed: FaultyProxy = getattr(world.servers, f"{name}_proxy")
    before, until = harmed.fired, time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.to_thread(world.servers.proxies.reset, harmed)
        await asyncio.sleep(0.1)
    if harmed.fired > before:
        world.note_fired(f"{name}_reset", connections=harmed.fired - before)


async def _silence_for(world: World, name: str, seconds: float) -> None:
    harmed: FaultyProxy = getattr(world.servers, f"{name}_proxy")
    harmed.is_silent = True
    await asyncio.sleep(seconds)
    harmed.is_silent = False
    world.note_fired(f"{name}_silent")


async def _set_read_only(world: World, value: str) -> None:
    connection = await asyncpg.connect(plain_url(world.servers.postgres.url))
    try:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()
