"""What happens to the service itself, and to everything at once."""

import asyncio

from tests.support.faults.servers import is_paused, pause, process_of, resume
from tests.support.faults.world import World


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
