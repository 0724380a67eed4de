"""The background task resolves many batches side by side, soon, and none in vain."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from batch_conductor_client import Unavailable
from batch_orchestrator_service.domain.accepting import accept
from batch_orchestrator_service.domain.models import BatchState, Run
from batch_orchestrator_service.domain.states import RunState
from batch_orchestrator_service.running import resolver
from batch_orchestrator_service.running.asking import Plan
from tests.support.bos import Orchestra, once
from tests.support.orchestrating import batch_of, request
from tests.support.waiting import eventually


async def test_the_background_task_finds_the_runs_whose_time_has_come() -> None:
    one = Orchestra()
    await one.make_ready("e1")
    await one.request("click")

    await once(one.resolver)

    assert one.run.state is RunState.RUNNING


async def test_one_that_takes_long_holds_up_no_other() -> None:
    one = Orchestra()
    one.bcs.repository.may_answer.clear()
    await one.make_ready("e1")
    await one.request("click")
    running = asyncio.create_task(one.resolver.run())
    await one.bcs.repository.has_been_asked.wait()

    async with one.store.lock("batch-2") as batch:
        click = request("other", "nlp")
        state = accept(batch.state, click, one.clock.now()).state
        await batch.save(state)
    await asyncio.sleep(0.05)
    other = one.runs.states["batch-2"].runs[0]
    one.bcs.repository.may_answer.set()
    one.resolver.stop()
    await running

    assert other.tried_at is not None  # it was looked at, while the first was in hand
    assert one.run.state is RunState.RUNNING  # the stop waits for what is in hand


async def test_runs_that_wait_their_turn_are_not_looked_at_again_and_again() -> None:
    one = Orchestra()
    await one.request("first")
    await one.request("second", "cj_assessment")
    looks = 0
    find_due = one.store.find_due

    async def look(now: datetime, count: int) -> Sequence[str]:
        nonlocal looks
        looks += 1
        return await find_due(now, count)

    one.store.find_due = look  # type: ignore[method-assign] # only counted
    await once(one.resolver)

    assert looks <= 3
    assert [run.tried_at is None for run in one.state.runs] == [False, True]


async def test_what_is_found_missing_is_raised_and_ends_the_task() -> None:
    one = Orchestra()
    await one.make_ready("e1")
    await one.request("click")

    async def fail(state: BatchState, run: Run) -> Plan:
        raise LookupError(state.batch_id, run.run_id)

    one.resolver._questions.ask = fail  # type: ignore[method-assign] # a fault of ours
    one.resolver._wakeups.wake()
    running = asyncio.create_task(one.resolver.run())
    await asyncio.sleep(0.05)
    one.signals.due.wake()

    with pytest.raises(LookupError):
        await asyncio.wait_for(running, 2)


async def test_a_run_whose_answer_does_not_come_before_the_stop_is_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolver, "STOP_SECONDS", 0.01)
    one = Orchestra()
    one.bcs.repository.may_answer.clear()
    await one.make_ready("e1")
    await one.request("click")
    running = asyncio.create_task(one.resolver.run())
    await one.bcs.repository.has_been_asked.wait()
    held = one.run.next_try_at

    one.resolver.stop()
    await asyncio.wait_for(running, 2)

    assert held is not None
    assert held > one.clock.now()
    assert (one.run.state, one.run.next_try_at) == (RunState.RESOLVING, one.clock.now())
    assert await one.store.find_due(one.clock.now(), 1) == ["batch-1"]  # whoever looks next has it


async def click_over(one: Orchestra, batch_id: str) -> None:
    """Have a run wait over a batch that is ready."""
    async with one.store.lock(batch_id) as batch:
        ready = replace(batch.state, batch=replace(batch_of("e1"), batch_id=batch_id))
        await batch.save(accept(ready, request(batch_id), one.clock.now()).state)


async def test_while_bcs_is_left_alone_no_more_runs_are_opened_in_vain() -> None:
    one = Orchestra()
    for number in range(100):
        await click_over(one, f"batch-{number}")
    asked = 0

    async def leave_alone(state: BatchState, run: Run) -> Unavailable:
        del state, run
        nonlocal asked
        asked += 1
        return Unavailable(reason="not_asked", retry_after_seconds=60)

    one.resolver._questions.ask = leave_alone  # type: ignore[method-assign] # BCS is down
    await once(one.resolver)

    assert 1 <= asked <= 16  # as many as are resolved at the same time


async def test_a_run_is_begun_as_soon_as_it_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "LOOK_SECONDS", 60.0)
    one = Orchestra()
    running = asyncio.create_task(one.resolver.run())
    await asyncio.sleep(0.05)

    await one.make_ready("e1")
    await one.request("click")

    async def is_running() -> bool:
        return one.run.state is RunState.RUNNING

    await eventually(is_running, timeout_seconds=5, what="the run")
    one.resolver.stop()
    await running
