"""Databases that are not in UTF-8."""

import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.servers import plain_url

REFUSAL = "The database's encoding is LATIN1; it must be UTF8."


async def make_latin1(server_url: str) -> str:
    """Return the address of a new database in LATIN1."""
    name = f"latin_{uuid.uuid4().hex}"
    await _execute(
        server_url,
        f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    )
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


@pytest.fixture
async def latin1_url(postgres_server_url: str) -> AsyncIterator[str]:
    """An empty database in LATIN1, of the test's own."""
    url = await make_latin1(postgres_server_url)
    yield url
    name = urlsplit(url).path.removeprefix("/")
    await _execute(postgres_server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def count_tables(url: str) -> int:
    """Return how many tables the database has beside the server's own."""
    connection = await asyncpg.connect(plain_url(url))
    try:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        )
    finally:
        await connection.close()
    return count


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(plain_url(url))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
