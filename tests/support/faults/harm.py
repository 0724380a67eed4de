"""What can be done to any server: kill it, stop it, silence it, cut its connections."""

import asyncio
import time

from tests.support.faults.proxy import FaultyProxy, IsMarked
from tests.support.faults.servers import is_paused, pause, process_of, resume
from tests.support.faults.world import World


async def kill_for(world: World, name: str, seconds: float) -> None:
    """Kill the server of that name, and start it again after the time."""
    server = getattr(world.servers, name)
    assert process_of(server).is_running
    await world.servers.run(server.kill)
    world.note_fired(f"{name}_killed")
    await asyncio.sleep(seconds)
    await world.servers.run(server.start)


async def stop_for(world: World, name: str, seconds: float) -> None:
    """Have the server stand still for the time, with its connections open."""
    process = process_of(getattr(world.servers, name))
    pause(process)
    try:
        assert is_paused(process)
        await asyncio.sleep(seconds)
    finally:
        resume(process)
    world.note_fired(f"{name}_stopped")


async def lose_replies(world: World, name: str, marked: IsMarked, seconds: float) -> None:
    """Lose the reply to every second marked request for the time."""
    harmed: FaultyProxy = getattr(world.servers, f"{name}_proxy")
    before = harmed.fired
    harmed.lose_replies(marked, every=2)
    await asyncio.sleep(seconds)
    harmed.lose_replies(marked, every=0)
    if harmed.fired > before:
        what = "commits_lost" if name != "redis" else "replies_lost"
        world.note_fired(f"{name}_{what}", replies=harmed.fired - before)


async def reset_for(world: World, name: str, seconds: float) -> None:
    """Reset every connection to the server, again and again, for the time."""
    harmed: FaultyProxy = getattr(world.servers, f"{name}_proxy")
    before, until = harmed.fired, time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.to_thread(world.servers.proxies.reset, harmed)
        await asyncio.sleep(0.1)
    if harmed.fired > before:
        world.note_fired(f"{name}_reset", connections=harmed.fired - before)


async def silence_for(world: World, name: str, seconds: float) -> None:
    """Take everything on its connections, and forward nothing, for the time."""
    harmed: FaultyProxy = getattr(world.servers, f"{name}_proxy")
    harmed.is_silent = True
    await asyncio.sleep(seconds)
    harmed.is_silent = False
    world.note_fired(f"{name}_silent")
