"""A database that is not in UTF-8 is refused by whoever connects."""

import asyncio
import subprocess

import asyncpg
import pytest

from alembic import command
from local_stack.service import BCS, clean_environment
from service_libs.exceptions import UnfitStoreError
from service_libs.postgres.health import PostgresProbe
from tests.support.database import alembic_config, open_engine
from tests.support.encodings import REFUSAL, count_tables, latin1_url
from tests.support.servers import plain_url

__all__ = ["latin1_url"]


async def test_migrate_refuses_it_in_one_line_and_at_once(latin1_url: str) -> None:
    migration = await asyncio.to_thread(
        subprocess.run,
        [*BCS, "migrate", "--wait", "600"],
        env=clean_environment() | {"BCS_DATABASE_URL": latin1_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (migration.returncode, migration.stderr) == (1, f"Error: {REFUSAL}\n")
    assert await count_tables(latin1_url) == 0


async def test_alembic_by_itself_refuses_it(latin1_url: str) -> None:
    with pytest.raises(UnfitStoreError):
        await asyncio.to_thread(command.upgrade, alembic_config(latin1_url), "head")

    assert await count_tables(latin1_url) == 0


async def test_every_connection_of_the_service_refuses_it(latin1_url: str) -> None:
    async with open_engine(latin1_url) as engine:
        for _ in range(3):
            with pytest.raises(UnfitStoreError, match="LATIN1"):
                async with engine.connect():
                    pass
        with pytest.raises(UnfitStoreError, match="LATIN1"):
            await PostgresProbe(engine).ping()


async def test_a_refused_connection_is_closed(latin1_url: str) -> None:
    async with open_engine(latin1_url) as engine:
        with pytest.raises(UnfitStoreError):
            async with engine.connect():
                pass
        connection = await asyncpg.connect(plain_url(latin1_url))
        open_ones = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await connection.close()

    assert open_ones == 0
