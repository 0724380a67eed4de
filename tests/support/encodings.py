"""Databases that are not in UTF-8."""

import asyncio
import io
from collections.abc import AsyncIterator
from functools import partial

import asyncpg
import pytest

from alembic import command
from batch_conductor_service.implementations.postgres.tables import Base
from tests.support.database import alembic_config, drop_database, make_database
from tests.support.servers import execute, plain_url

REFUSAL = "The database's encoding is LATIN1; it must be UTF8."


async def make_latin1(server_url: str) -> str:
    """Return the address of a new database in LATIN1."""
    encoding = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
    return await make_database(server_url, f"{encoding} TEMPLATE template0")


@pytest.fixture
async def latin1_url(postgres_server_url: str) -> AsyncIterator[str]:
    """An empty database in LATIN1, of the test's own."""
    url = await make_latin1(postgres_server_url)
    yield url
    await drop_database(postgres_server_url, url)


async def make_schema(url: str) -> None:
    """Make our tables without asking for the encoding, as an earlier version did."""
    sql = io.StringIO()
    config = alembic_config(url)
    config.output_buffer = sql
    await asyncio.to_thread(partial(command.upgrade, config, "head", sql=True))
    await execute(url, sql.getvalue())


async def count_tables(url: str) -> int:
    """Return how many tables the database has beside the server's own."""
    connection = await asyncpg.connect(plain_url(url))
    try:
        query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        number: int = await connection.fetchval(query)
    finally:
        await connection.close()
    return number


async def count_rows(url: str) -> int:
    """Return how many rows our tables have."""
    connection = await asyncpg.connect(plain_url(url))
    try:
        names = Base.metadata.tables
        return sum([len(await connection.fetch(f"TABLE {name}")) for name in names])
    finally:
        await connection.close()
