"""What only Postgres keeps, and the schema that it is kept in."""

import asyncio
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from alembic import command
from batch_orchestrator_service.domain.accepting import Decision
from batch_orchestrator_service.domain.advancing import Effect, Outcome
from batch_orchestrator_service.implementations.postgres.runs import PostgresRunStore
from batch_orchestrator_service.protocols import AuditEntry, UnusedOutcome
from service_libs.timing import SystemClock
from tests.support.bos_database import bos_config
from tests.support.orchestrating import Bench, named, request


async def test_the_audit_says_who_asked_for_what(bos_engine: AsyncEngine) -> None:
    store = PostgresRunStore(bos_engine, SystemClock())
    entry = AuditEntry(request=request(), decision=Decision.NOT_FOUND, run_id=None)

    async with store.lock("batch-1") as batch:
        await batch.save(batch.state, audit=[entry])

    async with bos_engine.connect() as connection:
        row = (await connection.execute(text("SELECT * FROM bos.audit"))).one()
    assert (row.user_id, row.batch_id, row.decision) == ("teacher", "batch-1", "not_found")
    assert row.at <= datetime.now(UTC)


async def test_an_outcome_that_moved_nothing_is_kept_and_each_click_with_its_time(
    bos_engine: AsyncEngine,
) -> None:
    store = PostgresRunStore(bos_engine, SystemClock())
    bench = Bench.ready("e1")
    bench.click(request())
    outcome = Outcome(
        correlation_id=named("other"), phase="nlp", status="failed_critically", processed={}
    )

    async with store.lock("batch-1") as batch:
        unused = UnusedOutcome(outcome=outcome, effect=Effect.FOREIGN)
        await batch.save(bench.state, unused=[unused])

    async with bos_engine.connect() as connection:
        kept = (await connection.execute(text("SELECT * FROM bos.unused_outcomes"))).one()
        click = (await connection.execute(text("SELECT * FROM bos.run_requests"))).one()
    assert (kept.batch_id, kept.correlation_id, kept.phase, kept.status, kept.effect) == (
        "batch-1",
        named("other"),
        "nlp",
        "failed_critically",
        "foreign",
    )
    assert (click.user_id, click.request_id) == ("teacher", named("click"))
    assert click.taken_at <= datetime.now(UTC)


async def test_the_migrations_make_the_tables_go_back_and_leave_nothing_to_do(
    bos_database_url: str,
) -> None:
    config = bos_config(bos_database_url)

    await asyncio.to_thread(command.check, config)
    await asyncio.to_thread(command.downgrade, config, "base")
    await asyncio.to_thread(command.upgrade, config, "head")
