"""The `bos` commands, as an operator runs them."""

import asyncio
import json
import os
import pwd
import uuid

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_orchestrator_service.domain.models import Run
from batch_orchestrator_service.events.messages import to_outgoing
from batch_orchestrator_service.exceptions import NothingToResendError
from batch_orchestrator_service.implementations.postgres.outbox import PostgresOutbox
from batch_orchestrator_service.implementations.postgres.runs import PostgresRunStore
from batch_orchestrator_service.operating.commands import RunCommands
from service_libs.timing import SystemClock
from tests.support.bos_commands import bos
from tests.support.orchestrating import NOON, Bench, request


@pytest.fixture
async def run(bos_engine: AsyncEngine) -> Run:
    """A run whose spellcheck is awaited, and one that waits behind it."""
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")
    bench.click(request("second", "cj_assessment"))
    async with PostgresRunStore(bos_engine, SystemClock()).lock("batch-1") as batch:
        messages = [to_outgoing(one, bench.state.batch, NOON) for one in bench.sent]
        await batch.save(bench.state, messages)
    return run


async def audited(engine: AsyncEngine) -> list[tuple[object, ...]]:
    """Return what the audit says that operators did."""
    rows = text(
        "SELECT user_id, batch_id, pipeline, run_id, decision, phase FROM bos.audit"
        " WHERE is_operator ORDER BY number"
    )
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(rows)]


async def test_runs_are_listed_and_shown(bos_database_url: str, run: Run) -> None:
    listed = await bos(bos_database_url, "runs", "--json")
    told = await bos(bos_database_url, "runs")
    shown = await bos(bos_database_url, "show", str(run.run_id), "--json")
    printed = await bos(bos_database_url, "show", str(run.run_id))

    assert [listed.code, told.code, shown.code, printed.code] == [0, 0, 0, 0], listed.errors
    lines = [json.loads(line) for line in listed.output.splitlines()]
    assert [(one["pipeline"], one["state"], one["reason"]) for one in lines] == [
        ("nlp", "running", None),
        ("cj_assessment", "accepted", "earlier_run_open"),
    ]
    assert "earlier_run_open" in told.output
    one = json.loads(shown.output)
    assert (one["batch_id"], one["phases"][0]["stalled"]) == ("batch-1", True)
    assert "spellcheck: dispatch_initiated" in printed.output
    assert "STALLED" in printed.output


async def test_a_command_is_sent_again_as_it_was(
    bos_database_url: str, bos_engine: AsyncEngine, run: Run
) -> None:
    outbox = PostgresOutbox(bos_engine)
    async with outbox.lead() as lease:
        assert lease is not None
        [before] = await lease.read(10, after=0)
        await lease.mark_sent([before.message_id], NOON)

    done = await bos(bos_database_url, "resend", str(run.run_id), "spellcheck", "--json")
    early = await bos(bos_database_url, "resend", str(run.run_id), "nlp")

    assert (done.code, early.code) == (0, 1)
    assert json.loads(done.output) == {
        "run_id": str(run.run_id),
        "phase": "spellcheck",
        "resent": True,
    }
    assert "never commanded" in early.errors
    me = pwd.getpwuid(os.getuid()).pw_name
    assert await audited(bos_engine) == [(me, "batch-1", "nlp", run.run_id, "resent", "spellcheck")]
    async with outbox.lead() as lease:
        assert lease is not None
        assert [one.value for one in await lease.read(10, after=0)] == [before.value]


async def test_a_run_is_cancelled_once_and_its_end_reported(
    bos_database_url: str, bos_engine: AsyncEngine, run: Run
) -> None:
    done = await bos(bos_database_url, "cancel", str(run.run_id), "--as", "Åsa Öberg", "--json")
    again = await bos(bos_database_url, "cancel", str(run.run_id))
    unknown = await bos(bos_database_url, "cancel", str(uuid.uuid4()))

    assert (done.code, again.code, unknown.code) == (0, 1, 1)
    assert json.loads(done.output) == {"run_id": str(run.run_id), "cancelled": True}
    assert "ended already" in again.errors
    async with PostgresOutbox(bos_engine).lead() as lease:
        assert lease is not None
        # The command, which the broker may never take, holds up nothing that is said later.
        [completion] = await lease.read(10, after=0)
    assert completion.topic == "huleedu.batch.pipeline.completed.v1"
    assert await audited(bos_engine) == [
        ("Åsa Öberg", "batch-1", "nlp", run.run_id, "cancelled", None)
    ]


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 256])
async def test_an_operator_has_a_name_that_can_be_read(name: str) -> None:
    ended = await bos("postgresql://127.0.0.1:1/bos", "cancel", str(uuid.uuid4()), "--as", name)

    assert ended.code == 2
    assert "1 to 255 printable characters" in ended.errors


async def test_a_command_whose_outcome_comes_meanwhile_is_not_sent_again(
    bos_engine: AsyncEngine, run: Run
) -> None:
    store, outbox = PostgresRunStore(bos_engine, SystemClock()), PostgresOutbox(bos_engine)
    async with outbox.lead() as lease:
        assert lease is not None
        [command] = await lease.read(10, after=0)
        await lease.mark_sent([command.message_id], NOON)
    bench = Bench.ready("e1")
    bench.run_to("nlp")
    bench.report(run, "spellcheck", "e1")

    async with store.lock("batch-1") as batch:
        commands = RunCommands(store, SystemClock())
        resending = asyncio.create_task(commands.resend(run.run_id, "spellcheck", "operator"))
        await asyncio.sleep(0.5)  # it has found the phase awaited by now
        await batch.save(batch.state.with_run(bench.run_of(run)))

    with pytest.raises(NothingToResendError):
        await resending
    assert (await outbox.get_backlog(SystemClock().now())).depth == 0


async def test_a_database_that_is_away_is_said_in_one_line() -> None:
    ended = await bos("postgresql://bcs:s3cret@127.0.0.1:1/bcs", "runs")

    assert ended.code == 2
    assert len(ended.errors.strip().splitlines()) == 1
    assert "s3cret" not in ended.errors


async def test_the_schema_is_brought_to_the_newest_revision(database_url: str) -> None:
    first = await bos(database_url, "migrate")
    second = await bos(database_url, "migrate")

    assert (first.code, second.code) == (0, 0), first.errors
    assert (await bos(database_url, "runs")).code == 0
