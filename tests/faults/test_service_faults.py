"""The process itself dies at any line, stands still, or is asked to end."""

import asyncio
from collections.abc import Sequence
from random import Random

import httpx
import pytest

from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.persisting.codec import encode_update
from service_libs import failpoints
from tests.support.builders import RecordedEvent, evidence, registered, update
from tests.support.failpoints import find_failpoints
from tests.support.faults.loads import break_under_load, load
from tests.support.faults.nemesis import FAULTS
from tests.support.faults.servers import pause, process_of, resume
from tests.support.faults.world import World
from tests.support.kafka import unique
from tests.support.waiting import eventually

# Those of the orchestrator and of the gateway are tried in `flow/`.
NAMES = sorted(one for one in find_failpoints() if not one.startswith(("bos.", "gateway.")))
PLACES = sorted({name.partition(".")[0] for name in NAMES})
GRACE_SECONDS = 22


@pytest.mark.parametrize("name", NAMES)
async def test_a_process_that_dies_at_a_failpoint_loses_nothing(world: World, name: str) -> None:
    early, late = load(41)
    await world.send_and_settle(early)
    await world.servers.run(process_of(world.member).stop)
    world.expects_dead_letters = True
    await world.servers.run(lambda: world.member.launch(FAILPOINT=name))

    sending = asyncio.create_task(world.relay.send(late, over_seconds=2))
    await _send_what_passes_every_failpoint(world, late)

    async def has_died() -> bool:
        return not process_of(world.member).is_running

    await eventually(has_died, timeout_seconds=40, what=f"the end at {name}")
    assert process_of(world.member).stop() == failpoints.EXIT_CODE
    world.note_fired("service_died_at_failpoint", failpoint=name)
    await sending
    await world.recover_and_check()


@pytest.mark.parametrize("place", PLACES)
async def test_a_task_that_dies_at_failpoints_is_started_again_and_loses_nothing(
    world: World, place: str
) -> None:
    names = [name for name in NAMES if name.startswith(place)]
    early, late = load(47)
    await world.send_and_settle(early)
    await world.servers.run(process_of(world.member).stop)
    world.expects_dead_letters = True
    armed = ",".join(f"{name}:1:raise" for name in names)
    await world.servers.run(lambda: world.member.start(FAILPOINT=armed))
    pid = process_of(world.member).pid

    sending = asyncio.create_task(world.relay.send(late, over_seconds=2))
    await _send_what_passes_every_failpoint(world, late)

    async def has_raised() -> bool:
        return all(f"failpoint {name}\n" in world.member.log for name in names)

    await eventually(has_raised, timeout_seconds=40, what=f"an error at each of {names}")
    for name in names:
        world.note_fired("task_died_at_failpoint", failpoint=name)
    await sending
    await world.recover_and_check()
    assert process_of(world.member).pid == pid


async def _send_what_passes_every_failpoint(world: World, late: Sequence[RecordedEvent]) -> None:
    """Send records and rows that are refused, and of new batches, beside the other events."""
    refused = unique("batch")
    for number in range(3):
        await world.relay.send([registered(unique("batch"), 2)])
        await world.relay.send_nonsense(late[0].topic, b"nonsense %d" % number)
        row = update(refused, evidence("essay-1", storage_id=f"a\0{number}"))
        await world.onlooker.redis.xadd(keys.PERSISTENCE_QUEUE, {"update": encode_update(row)})


async def test_a_process_that_is_asked_to_end_under_load_fails_no_request(world: World) -> None:
    early, late = load(42)
    await world.send_and_settle(early)
    sending = asyncio.create_task(world.relay.send(late, over_seconds=3))
    loop = asyncio.get_running_loop()
    async with world.asking(Random(1)), world.asking(Random(2)):
        await asyncio.sleep(1)
        started = loop.time()
        code = await world.servers.run(process_of(world.member).stop)
        lasted = loop.time() - started
        await asyncio.sleep(0.5)
    await sending

    assert (code, lasted < GRACE_SECONDS) == (0, True)
    assert set(world.caller.statuses) <= {"200", "degraded", "ConnectError"}
    await world.recover_and_check()


async def test_two_owners_of_one_queue_entry_change_nothing_twice(world: World) -> None:
    """A worker stands still with entries in hand until another has taken them; then it goes on."""
    early, late = load(43)
    await world.send_and_settle(early)
    lock = asyncio.create_task(FAULTS["postgres_locked"](world, 2))
    await asyncio.sleep(0.2)
    await world.relay.send(late)
    await asyncio.sleep(0.5)
    pause(process_of(world.member))
    await lock
    await world.servers.run(world.other_member.start)

    async def is_taken_over() -> bool:
        return not await world.onlooker.redis.xlen(keys.PERSISTENCE_QUEUE)

    await eventually(is_taken_over, timeout_seconds=40, what="the takeover")
    world.note_fired("queue_entries_taken_over")

    resume(process_of(world.member))
    await asyncio.sleep(1)
    await world.recover_and_check()
    await world.servers.run(process_of(world.other_member).stop)


async def test_callers_that_hang_up_at_any_moment_leave_nothing_behind(world: World) -> None:
    early, late = load(44)
    await world.send_and_settle(early)
    random = Random(44)
    hung_up = 0
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=20)) as client:

        async def hang_up() -> int:
            question = {"batch_id": world.model.batches[0], "requested_pipeline": "nlp"}
            try:
                async with asyncio.timeout(random.uniform(0, 0.02)):
                    await client.post(
                        f"{world.member.address}/internal/v1/pipelines/define", json=question
                    )
            except TimeoutError:
                return 1
            return 0

        for _ in range(60):
            hung_up += sum(await asyncio.gather(*(hang_up() for _ in range(10))))
    assert hung_up > 0

    await break_under_load(world, asyncio.sleep(0), seed=45)
    await world.relay.send(late)
    await world.recover_and_check()


async def test_events_in_any_order_end_in_the_same_state(world: World) -> None:
    early, late = load(46)
    events: list[RecordedEvent] = [*early, *late]
    Random(46).shuffle(events)
    await world.relay.send(events[::-1])

    await world.recover_and_check()
