"""What only Postgres keeps, and the schema that it is kept in."""

import asyncio
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from alembic import command
from batch_orchestrator_service.domain.accepting import Decision
from batch_orchestrator_service.implementations.postgres.runs import PostgresRunStore
from batch_orchestrator_service.protocols import AuditEntry
from service_libs.timing import SystemClock
from tests.support.bos_database import bos_config
from tests.support.orchestrating import request


async def test_the_audit_says_who_asked_for_what(bos_engine: AsyncEngine) -> None:
    store = PostgresRunStore(bos_engine, SystemClock())
    entry = AuditEntry(request=request(), decision=Decision.NOT_FOUND, run_id=None)

    async with store.lock("batch-1") as batch:
        await batch.save(batch.state, audit=[entry])

    async with bos_engine.connect() as connection:
        row = (await connection.execute(text("SELECT * FROM bos.audit"))).one()
    assert (row.user_id, row.batch_id, row.decision) == ("teacher", "batch-1", "not_found")
    assert row.at <= datetime.now(UTC)


async def test_the_migrations_make_the_tables_go_back_and_leave_nothing_to_do(
    bos_database_url: str,
) -> None:
    config = bos_config(bos_database_url)

    await asyncio.to_thread(command.check, config)
    await asyncio.to_thread(command.downgrade, config, "base")
    await asyncio.to_thread(command.upgrade, config, "head")
