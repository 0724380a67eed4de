"""The clock of this machine is put forward and back; those of the servers are right."""

import asyncio
import sys
from pathlib import Path

import httpx

from tests.support.faults import false_clock
from tests.support.faults.loads import break_under_load
from tests.support.faults.servers import Command, process_of
from tests.support.faults.world import World

HOUR = 3600
DAYS = 30 * 24 * HOUR  # longer than any state is kept


async def test_a_clock_that_jumps_changes_nothing(world: World, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    await world.servers.run(process_of(world.member).stop)
    command: Command = [sys.executable, false_clock.__file__, clock, "serve"]
    await world.servers.run(lambda: world.member.start(command=command))

    async def jump() -> None:
        for seconds in (HOUR, -HOUR, DAYS, -DAYS):
            clock.write_text(str(seconds))
            world.note_fired("clock_jumped", seconds=seconds)
            await asyncio.sleep(0.5)
        clock.write_text(str(HOUR))
        await _open_the_breaker(world)
        clock.write_text(str(-HOUR))

    await break_under_load(world, jump())

    await world.recover_and_check()
    health = await world.caller.ask_health(world.member.address)
    assert (health["status"], health["consumer"]["state"]) == ("healthy", "consuming")


async def _open_the_breaker(world: World) -> None:
    """Kill Redis until it is not asked any more."""
    await world.servers.run(world.servers.redis.kill)
    async with httpx.AsyncClient() as client:
        for _ in range(100):
            await world.ask_everything()
            text = (await client.get(f"{world.member.address}/metrics")).text
            if 'bcs_circuit_breaker_state{dependency="redis"} 2.0' in text:
                return
    raise AssertionError("the breaker did not open")
