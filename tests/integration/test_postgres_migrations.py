import asyncio
import io
import os
import re
import sys
from collections.abc import Mapping

from sqlalchemy import Connection, Inspector, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from alembic import command
from batch_conductor_service.implementations.postgres.tables import Base
from tests.support.database import ROOT, alembic_config, migrate, open_engine

TABLES = {
    "essay_step_evidence",
    "phase_outcomes",
    "batch_registrations",
    "processing_pipeline_state",
    "batch_activity",
}
COUNT_WAITING_SOON = text("""
    SELECT count(DISTINCT pid) FROM pg_locks, pg_sleep(0.05)
    WHERE NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")


async def table_names(url: str) -> set[str]:
    async with open_engine(url) as engine, engine.connect() as connection:
        names = await connection.run_sync(lambda c: inspect(c).get_table_names())
    return set(names) - {"alembic_version"}


async def described_schema(engine: AsyncEngine) -> Mapping[str, object]:
    """Return all that the server says about our tables, as text."""

    def describe(connection: Connection) -> Mapping[str, object]:
        inspector: Inspector = inspect(connection)
        return {
            table: (
                [repr(column) for column in inspector.get_columns(table)],
                inspector.get_pk_constraint(table),
                sorted(map(repr, inspector.get_check_constraints(table))),
                inspector.get_indexes(table),
            )
            for table in TABLES
        }

    async with engine.connect() as connection:
        return await connection.run_sync(describe)


async def test_the_schema_goes_up_down_and_up_again(database_url: str) -> None:
    await migrate(database_url)
    first = await table_names(database_url)
    await migrate(database_url, "base", run=command.downgrade)
    emptied = await table_names(database_url)
    await migrate(database_url)
    second = await table_names(database_url)

    assert (first, emptied, second) == (TABLES, set(), TABLES)


async def test_autogenerate_finds_nothing_to_do(migrated_database_url: str) -> None:
    await asyncio.to_thread(command.check, alembic_config(migrated_database_url))


async def test_the_revisions_make_what_the_tables_declare(migrated_engine: AsyncEngine) -> None:
    """Autogenerate compares neither checks nor collations."""
    migrated = await described_schema(migrated_engine)

    async with migrated_engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)

    assert migrated == await described_schema(migrated_engine)


async def test_processes_that_migrate_at_once_all_succeed(database_url: str) -> None:
    """All of them start, and find nothing done, before the first can do anything."""
    await migrate(database_url)
    await migrate(database_url, "base", run=command.downgrade)

    async with open_engine(database_url) as engine, engine.connect() as connection:
        await connection.execute(text("LOCK TABLE alembic_version"))
        processes = [await start_migrating(database_url) for _ in range(3)]
        async with asyncio.timeout(60):
            while await connection.scalar(COUNT_WAITING_SOON) != len(processes):
                pass  # the statement itself takes a moment
        await connection.commit()
        codes = [await process.wait() for process in processes]

    assert codes == [0, 0, 0]
    assert await table_names(database_url) == TABLES


async def start_migrating(url: str) -> asyncio.subprocess.Process:
    command_line = (sys.executable, "-m", "alembic", "upgrade", "head")
    environment = os.environ | {"BCS_DATABASE_URL": url}
    return await asyncio.create_subprocess_exec(*command_line, cwd=ROOT, env=environment)


def test_the_sql_can_be_printed_for_review() -> None:
    config = alembic_config("postgresql://nobody@nowhere.invalid/none")
    config.output_buffer = io.StringIO()

    command.upgrade(config, "head", sql=True)

    made = set(re.findall(r"CREATE TABLE (\w+)", config.output_buffer.getvalue()))
    assert made == TABLES | {"alembic_version"}
