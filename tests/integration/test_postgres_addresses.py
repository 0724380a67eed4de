"""What the database's URL says has its effect on real connections."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service_libs.exceptions import StoreUnavailableError
from service_libs.postgres.health import PostgresProbe
from tests.support.database import migrate, open_engine


async def show(engine: AsyncEngine, name: str) -> str:
    async with engine.connect() as connection:
        value: str = (await connection.execute(text(f"SHOW {name}"))).scalar_one()
    return value


async def test_libpqs_options_reach_the_server_and_ours_come_first(database_url: str) -> None:
    options = (
        "?application_name=mine&connect_timeout=3&sslmode=prefer&channel_binding=prefer"
        "&options=-c%20search_path%3Dours,public%20-c%20statement_timeout%3D1"
    )

    async with open_engine(database_url + options, timeout_seconds=10) as engine:
        assert await show(engine, "application_name") == "mine"
        assert await show(engine, "search_path") == "ours,public"
        assert await show(engine, "statement_timeout") == "8s"


async def test_a_migration_takes_the_same_options(database_url: str) -> None:
    await migrate(
        f"{database_url}?sslmode=disable&options=-csearch_path%3Dpublic&connect_timeout=3"
    )

    async with open_engine(database_url) as engine:
        await PostgresProbe(engine).ping()


async def test_encryption_that_the_server_does_not_have_is_not_done_without(
    database_url: str,
) -> None:
    async with open_engine(f"{database_url}?sslmode=require") as engine:
        with pytest.raises(StoreUnavailableError):
            await PostgresProbe(engine).ping()


async def test_without_caches_a_session_keeps_no_statement(database_url: str) -> None:
    """What a pooler hands to the next client has nothing of the one before."""
    options = "?statement_cache_size=0"

    async with open_engine(database_url + options) as engine, engine.connect() as connection:
        for number in range(3):
            await connection.execute(text("SELECT CAST(:number AS int)"), {"number": number})
            await connection.commit()
        kept = await connection.execute(text("SELECT count(*) FROM pg_prepared_statements"))

        assert kept.scalar_one() == 0
