"""However many runs there are, no regular question reads all of a table.

Ten times as many runs have ended as are open. The same was seen with 10,000 that are open.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batch_orchestrator_service.domain.accepting import accept
from batch_orchestrator_service.implementations.postgres.outbox import PostgresOutbox
from batch_orchestrator_service.implementations.postgres.retention import PostgresOldRecords
from batch_orchestrator_service.implementations.postgres.runs import PostgresRunStore
from service_libs.timing import SystemClock
from tests.support.orchestrating import request

OPEN, ALL = 2_000, 22_000  # runs; each of a batch of its own

# Of the last, every tenth waits to be sent, is due, or is overdue; the first have ended long ago.
FILL = (
    (
        "INSERT INTO bos.batches (batch_id, user_id, has_ready_essays)"
        " SELECT 'batch-' || n, 'teacher', true FROM generate_series(1, :all) AS n"
    ),
    (
        "INSERT INTO bos.batch_essays SELECT 'batch-' || n, 'e1', 'text'"
        " FROM generate_series(1, :all) AS n"
    ),
    (
        "INSERT INTO bos.pipeline_runs (run_id, batch_id, pipeline, user_id, correlation_id,"
        " client_correlation_id, is_retry, state, accepted_at, next_try_at, started_at, ended_at)"
        " SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), 'batch-' || n, 'nlp', 'teacher',"
        " gen_random_uuid(), gen_random_uuid(), false,"
        " CASE WHEN n <= :ended THEN 'completed_successfully' WHEN n % 10 = 0 THEN 'accepted'"
        " ELSE 'running' END, now(), CASE WHEN n > :ended AND n % 10 = 0 THEN now() END, now(),"
        " CASE WHEN n <= :ended THEN now() END FROM generate_series(1, :all) AS n"
    ),
    (
        "INSERT INTO bos.run_requests"
        " SELECT run_id, batch_id, run_id, '', 0, user_id, now() FROM bos.pipeline_runs"
    ),
    (
        "INSERT INTO bos.phase_runs (run_id, phase, position, status, event_type, depends_on,"
        " attempt, dispatched, left_out, processed, dispatched_at, deadline_at, ended_at)"
        " SELECT run_id, phase, 0, 'in_progress', 'command', '{}', 1, '{e1}', '{}', '{}', now(),"
        " now() + CASE WHEN number % 100 = 1 THEN interval '-1 hour' ELSE interval '1 hour' END,"
        " ended_at FROM bos.pipeline_runs, unnest(ARRAY['spellcheck', 'nlp']) AS phase"
    ),
    (
        "INSERT INTO bos.outbox (message_id, batch_id, run_id, phase, topic, value, created_at,"
        " sent_at) SELECT gen_random_uuid(), batch_id, run_id, phase, 'topic', 'value', now(),"
        " CASE WHEN ended_at IS NOT NULL OR number % 10 > 0 THEN now() END"
        " FROM bos.pipeline_runs JOIN bos.phase_runs USING (run_id, ended_at)"
    ),
    (
        "INSERT INTO bos.outbox (message_id, batch_id, run_id, phase, topic, value, created_at,"
        " sent_at) SELECT gen_random_uuid(), batch_id, run_id, NULL, 'topic', 'value', now(),"
        " ended_at FROM bos.pipeline_runs"
    ),
    (
        "INSERT INTO bos.phase_outputs SELECT 'batch-' || n, 'spellcheck', 'e1', 'text', now()"
        " FROM generate_series(1, :all) AS n"
    ),
    (
        "INSERT INTO bos.unused_outcomes (at, batch_id, phase, status, effect)"
        " SELECT now(), 'batch-' || n, 'nlp', 'other', 'foreign'"
        " FROM generate_series(1, :all) AS n"
    ),
    (
        "INSERT INTO bos.audit (at, user_id, batch_id, pipeline, decision)"
        " SELECT now(), 'teacher', 'batch-' || n, 'nlp', 'new_run'"
        " FROM generate_series(1, :all) AS n"
    ),
)


@pytest.fixture
async def full(bos_engine: AsyncEngine) -> AsyncEngine:
    """The database with all those runs."""
    async with bos_engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("SET statement_timeout = '60s'"))
        for statement in FILL:
            numbers = {"all": ALL, "ended": ALL - OPEN}
            bound = {name: n for name, n in numbers.items() if f":{name}" in statement}
            await autocommit.execute(text(statement), bound)
        await autocommit.execute(text("VACUUM ANALYZE"))
    return bos_engine


@contextmanager
def noted(engine: AsyncEngine) -> Iterator[list[tuple[str, Any]]]:
    """Give all that is executed in the block."""
    statements: list[tuple[str, Any]] = []

    def note(*arguments: Any) -> None:
        statements.append((arguments[2], arguments[3]))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine.sync_engine, "before_cursor_execute", note)


def scanned(plan: dict[str, Any]) -> Iterator[str]:
    """Give the tables that the plan reads from beginning to end."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from scanned(part)


async def explain(connection: AsyncConnection, statement: str, values: Any) -> set[str]:  # noqa: ANN401 - of a driver
    [[plan]] = (
        (await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values))
        .scalars()
        .all()
    )
    return set(scanned(plan["Plan"]))


async def test_no_regular_question_reads_all_of_a_table(full: AsyncEngine) -> None:
    now, run_id = datetime.now(UTC), UUID(int=ALL - 1)
    store, outbox = PostgresRunStore(full, SystemClock()), PostgresOutbox(full)
    old = PostgresOldRecords(full)

    with noted(full) as statements:
        assert len(await store.find_due(now, 32)) == 32
        assert len(await store.list_open(100)) == 100
        assert await store.find_run(run_id)
        assert await store.find_state(f"batch-{ALL - 1}")
        assert await store.report_stalled(now)
        assert await store.count_stalled(now)
        assert (await outbox.get_backlog(now)).depth
        async with outbox.lead() as lease:
            assert lease is not None
            page = await lease.read(20, after=0)
            assert len(page) == 20
            await lease.mark_sent([one.message_id for one in page], now)
        async with store.lock(f"batch-{ALL - 1}") as batch:
            await batch.save(accept(batch.state, request("click", "nlp"), now).state)
        assert await old.delete_runs(30, 100) == 0
        assert await old.delete_batches(30, 100) == 0
        assert await old.delete_notes(30, 100) == 0

    read = {}
    async with full.connect() as connection:
        for statement, values in statements:
            if statement.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
                read[statement] = await explain(connection, statement, values)
    assert len(read) > 20
    assert {statement: tables for statement, tables in read.items() if tables} == {}
