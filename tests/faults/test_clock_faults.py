"""The clock of the service is put forward and back; those of all others are right."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from batch_conductor_service.models import BatchId
from tests.support.builders import essay_names, registered, spellchecked
from tests.support.faults import false_clock
from tests.support.faults.loads import break_under_load
from tests.support.faults.servers import Command, process_of
from tests.support.faults.world import World
from tests.support.kafka import unique
from tests.support.waiting import eventually

HOUR = 3600
DAYS = 30 * 24 * HOUR  # longer than any state is kept


class WrongClock:
    """A file that says by how many seconds the service's clock is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.put(0)

    def put(self, seconds: int) -> None:
        """Put the clock ahead by so many seconds, or back."""
        self.path.write_text(str(seconds))


@pytest.fixture
async def clock(world: World, tmp_path: Path) -> WrongClock:
    """The clock of the service, which is started with it."""
    clock = WrongClock(tmp_path / "clock")
    await world.servers.run(process_of(world.member).stop)
    command: Command = [sys.executable, false_clock.__file__, clock.path, "serve"]
    await world.servers.run(lambda: world.member.start(command=command))
    return clock


async def test_a_clock_that_jumps_ahead_and_back_changes_nothing(
    world: World, clock: WrongClock
) -> None:
    async def jump() -> None:
        for seconds in (HOUR, 0, DAYS, 0):
            clock.put(seconds)
            world.note_fired("clock_jumped", seconds=seconds)
            await asyncio.sleep(0.5)
        clock.put(HOUR)
        await _open_the_breaker(world)
        clock.put(0)

    await break_under_load(world, jump())

    await world.recover_and_check()
    health = await world.caller.ask_health(world.member.address)
    assert (health["status"], health["consumer"]["state"]) == ("healthy", "consuming")


@pytest.mark.parametrize("late", [HOUR, DAYS])
async def test_a_clock_that_is_late_makes_phases_run_and_prunes_nothing(
    world: World, clock: WrongClock, late: int
) -> None:
    """Nobody but this clock says that a time is from the future, so it is not believed."""
    batch, essays = BatchId(unique("batch")), essay_names(3)
    clock.put(-late)
    now = datetime.now(UTC)
    events = [registered(batch, 3, now), *(spellchecked(batch, e, at=now) for e in essays)]
    await world.relay.send(events)
    world.note_fired("clock_jumped", seconds=-late)

    async def is_not_believed() -> bool:
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"{world.member.address}/metrics")).text
        believed = 'bcs_times_not_believed_total{event_type="SpellcheckPhaseCompletedV1"} 3.0'
        return believed in text

    await eventually(is_not_believed, timeout_seconds=30, what="times that are not believed")
    answer = await world.caller.ask(batch, "cj_assessment", world.member.address)
    assert answer is not None
    assert answer.skipped == []


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
