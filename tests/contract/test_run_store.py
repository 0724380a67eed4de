"""What BOS knows is read as it was written, under one lock a batch, wholly or not at all.

One contract for every store.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_orchestrator_service.domain.states import PhaseStatus
from batch_orchestrator_service.events.messages import to_outgoing
from batch_orchestrator_service.exceptions import RequestIdTakenError
from batch_orchestrator_service.implementations.memory.runs import (
    MemoryOutbox,
    MemoryRuns,
    MemoryRunStore,
)
from batch_orchestrator_service.implementations.postgres.outbox import PostgresOutbox
from batch_orchestrator_service.implementations.postgres.runs import PostgresRunStore
from batch_orchestrator_service.protocols import OutboxProtocol, RunStoreProtocol
from batch_orchestrator_service.signals import Signals
from service_libs.timing import SystemClock
from tests.support.bos_database import bos_database_url, bos_engine
from tests.support.orchestrating import NOON, Bench, named, planned, request

__all__ = ["bos_database_url", "bos_engine"]

Stores = tuple[RunStoreProtocol, OutboxProtocol]


@pytest.fixture
def signals() -> Signals:
    """What the store wakes others by."""
    return Signals()


@pytest.fixture(params=["memory", "postgres"])
def stores(request: pytest.FixtureRequest, bos_engine: AsyncEngine, signals: Signals) -> Stores:
    """Each store with its outbox, empty."""
    if request.param == "memory":
        runs = MemoryRuns()
        return MemoryRunStore(runs, signals), MemoryOutbox(runs)
    return PostgresRunStore(bos_engine, SystemClock(), signals), PostgresOutbox(bos_engine)


@pytest.fixture
def store(stores: Stores) -> RunStoreProtocol:
    """The store."""
    return stores[0]


@pytest.fixture
def outbox(stores: Stores) -> OutboxProtocol:
    """Its outbox."""
    return stores[1]


async def keep(store: RunStoreProtocol, bench: Bench) -> None:
    """Write the bench's state, and all that it has sent."""
    async with store.lock("batch-1") as batch:
        messages = [to_outgoing(one, bench.state.batch, bench.now) for one in bench.sent]
        await batch.save(bench.state, messages)


async def test_a_batch_nobody_has_heard_of_is_empty_and_locked_all_the_same(
    store: RunStoreProtocol,
) -> None:
    assert await store.find_state("batch-1") is None

    async with store.lock("batch-1") as batch:
        assert batch.state == Bench().state


async def test_every_state_of_a_run_is_read_as_it_was_written(store: RunStoreProtocol) -> None:
    bench = Bench()
    bench.click(request("early"))
    await keep(store, bench)
    bench.register("e1", "e2", expected=3)
    bench.make_ready("e1", "e2")
    await keep(store, bench)
    run = bench.run_to("nlp", pending={"nlp": frozenset({"e1"})})
    await keep(store, bench)
    for phase, essays in (("spellcheck", ("e1", "e2")), ("nlp", ("e1",))):
        bench.report(run, phase, *essays, status="completed_with_failures")
        await keep(store, bench)
        assert await store.find_state("batch-1") == bench.state
    bench.click(request("retry", "nlp", is_retry=True))
    bench.click(request("again", "nlp", is_retry=True))
    bench.cancel(bench.state.waiting[0])
    await keep(store, bench)

    assert await store.find_state("batch-1") == bench.state
    async with store.lock("batch-1") as batch:
        assert batch.state == bench.state


async def test_texts_that_are_forgotten_are_not_read_again(store: RunStoreProtocol) -> None:
    bench = Bench.ready("e1", "e2")
    bench.report(bench.run_to("spellcheck"), "spellcheck", "e1", "e2")
    bench.click(request("again", "spellcheck"))
    run = bench.begin()
    assert run is not None
    bench.plan(run, planned("spellcheck", pending={"spellcheck": frozenset({"e1"})}))
    await keep(store, bench)

    bench.cancel(bench.run_of(run))
    await keep(store, bench)

    kept = await store.find_state("batch-1")
    assert kept is not None
    assert kept.outputs["spellcheck"].keys() == {"e2"}
    assert kept == bench.state


async def test_runs_of_strangers_go_with_their_requests(store: RunStoreProtocol) -> None:
    bench = Bench()
    bench.click(request("stranger's", user="stranger"))
    await keep(store, bench)
    bench.register("e1")

    await keep(store, bench)

    kept = await store.find_state("batch-1")
    assert kept is not None
    assert (kept.runs, kept.fingerprints) == ((), {})


async def test_what_fails_leaves_nothing_behind(
    store: RunStoreProtocol, outbox: OutboxProtocol
) -> None:
    bench = Bench.ready("e1")
    bench.run_to("nlp")

    async def save_and_die() -> None:
        async with store.lock("batch-1") as batch:
            messages = [to_outgoing(one, bench.state.batch, bench.now) for one in bench.sent]
            await batch.save(bench.state, messages)
            raise RuntimeError("died")

    with pytest.raises(RuntimeError, match="died"):
        await save_and_die()

    assert await store.find_state("batch-1") is None
    assert (await outbox.get_backlog(NOON)).depth == 0


async def test_two_who_want_one_batch_take_turns(store: RunStoreProtocol) -> None:
    order: list[str] = []

    async def work(name: str, pause: float) -> None:
        async with store.lock("batch-1"):
            order.append(f"{name} begins")
            await asyncio.sleep(pause)
            order.append(f"{name} ends")

    first = asyncio.create_task(work("first", 0.3))
    await asyncio.sleep(0.1)
    await asyncio.gather(first, work("second", 0))

    assert order == ["first begins", "first ends", "second begins", "second ends"]


async def test_a_request_id_leads_to_one_run_over_all_batches(store: RunStoreProtocol) -> None:
    bench = Bench.ready("e1")
    bench.click(request("click"))
    await keep(store, bench)

    async def ask_over_another_batch() -> None:
        async with store.lock("batch-2") as batch:
            other = replace(bench.state, batch_id="batch-2", batch=batch.state.batch)
            await batch.save(replace(other, runs=(replace(other.runs[0], run_id=named("other")),)))

    with pytest.raises(RequestIdTakenError):
        await ask_over_another_batch()

    assert await store.find_state("batch-2") is None


async def test_a_message_is_kept_once_whatever_is_said_again(
    store: RunStoreProtocol, outbox: OutboxProtocol
) -> None:
    bench = Bench.ready("e1")
    bench.run_to("nlp")
    await keep(store, bench)
    bench.now += timedelta(minutes=1)
    await keep(store, bench)
    async with outbox.lead() as lease:
        assert lease is not None
        [message] = await lease.read(10, after=0)
        assert message.phase == "spellcheck"
        assert b"2026-01-31T12:00:00+00:00" in message.value
        await lease.mark_sent([message.message_id], NOON)
        assert await lease.read(10, after=0) == []

    state = await store.find_state("batch-1")
    assert state is not None
    assert state.runs[0].phases[0].status is PhaseStatus.IN_PROGRESS
    async with store.lock("batch-1") as batch:
        assert await batch.resend(message.message_id)
        assert not await batch.resend(named("no message"))
    async with outbox.lead() as lease:
        assert lease is not None
        [again] = await lease.read(10, after=0)
    assert (again.message_id, again.value) == (message.message_id, message.value)


async def test_commands_that_are_withdrawn_are_not_sent_and_hold_nothing_up(
    store: RunStoreProtocol, outbox: OutboxProtocol
) -> None:
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")
    await keep(store, bench)
    bench.cancel(run)
    async with outbox.lead() as lease, store.lock("batch-1") as batch:
        assert lease is not None
        [command] = await lease.read(10, after=0)
        await batch.withdraw_commands(named("another run"))
        await batch.withdraw_commands(run.run_id)

    await keep(store, replace(bench, sent=[*bench.completions]))

    async with outbox.lead() as lease:
        assert lease is not None
        [completion] = await lease.read(10, after=0)
        await lease.mark_sent([command.message_id], NOON)  # it was being sent just then
        assert [one.phase for one in await lease.read(10, after=0)] == [None]
        await lease.mark_sent([completion.message_id], NOON)
        assert await lease.read(10, after=0) == []


async def test_a_command_that_was_sent_is_not_withdrawn(
    store: RunStoreProtocol, outbox: OutboxProtocol
) -> None:
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")
    await keep(store, bench)
    async with outbox.lead() as lease:
        assert lease is not None
        [command] = await lease.read(10, after=0)
        await lease.mark_sent([command.message_id], NOON)

    async with store.lock("batch-1") as batch:
        await batch.withdraw_commands(run.run_id)
        assert await batch.resend(command.message_id)


async def test_one_sends_at_a_time(outbox: OutboxProtocol) -> None:
    async with outbox.lead() as first, outbox.lead() as second:
        assert first is not None
        assert second is None
    async with outbox.lead() as third:
        assert third is not None


async def test_only_runs_whose_time_has_come_are_due(store: RunStoreProtocol) -> None:
    bench = Bench.ready("e1")
    bench.click(request("click"))
    await keep(store, bench)

    assert await store.find_due(NOON - timedelta(seconds=1), 10) == []
    assert await store.find_due(NOON, 10) == ["batch-1"]
    bench.begin()
    await keep(store, bench)
    assert await store.find_due(NOON, 10) == []  # it is being resolved


async def test_no_run_is_due_while_another_of_its_batch_runs(store: RunStoreProtocol) -> None:
    bench = Bench.ready("e1")
    bench.run_to("nlp")
    bench.click(request("second", "cj_assessment"))
    await keep(store, bench)

    assert await store.find_due(NOON + timedelta(days=1), 10) == []
    assert [run.pipeline for _, run in await store.list_open(10)] == ["nlp", "cj_assessment"]


async def test_a_phase_that_is_overdue_is_reported_once(store: RunStoreProtocol) -> None:
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")
    await keep(store, bench)
    late = NOON + timedelta(hours=2)

    assert await store.report_stalled(NOON) == []
    [stalled] = await store.report_stalled(late)
    assert (stalled.batch_id, stalled.run_id, stalled.phase) == (
        "batch-1",
        run.run_id,
        "spellcheck",
    )
    assert await store.report_stalled(late) == []
    assert await store.count_stalled(late) == 1
    assert await store.find_run(run.run_id) == "batch-1"
    bench.report(run, "spellcheck", "e1")
    await keep(store, bench)
    assert await store.count_stalled(NOON + timedelta(minutes=30)) == 0


async def test_who_waits_for_work_is_woken_by_what_is_saved(
    stores: Stores, signals: Signals
) -> None:
    bench = Bench.ready("e1")
    bench.click(request("click"))
    for wakeups in (signals.due, signals.unsent):
        wakeups.begin_look()

    await keep(stores[0], bench)
    async with asyncio.timeout(5):
        await signals.due.rest()
    run = bench.begin()
    assert run is not None
    bench.plan(run, planned("nlp"))
    await keep(stores[0], bench)

    async with asyncio.timeout(5):
        await signals.unsent.rest()


async def test_an_overview_has_all_but_the_texts(store: RunStoreProtocol) -> None:
    bench = Bench.ready("e1", "e2")
    run = bench.run_to("nlp")
    bench.report(run, "spellcheck", "e1")
    await keep(store, bench)

    overview = await store.find_overview("batch-1")

    assert overview is not None
    assert (overview.batch.texts, overview.outputs) == ({}, {})
    whole = await store.find_state("batch-1")
    assert whole == replace(
        overview,
        batch=replace(overview.batch, texts=bench.state.batch.texts),
        outputs=bench.state.outputs,
    )
    assert await store.find_overview("nobody's") is None
