"""Databases with our schema, and engines for them."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from alembic import command
from batch_conductor_service.config import Settings
from batch_conductor_service.implementations.postgres.tables import DATABASE
from tests.support.servers import execute

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 10


async def make_database(server_url: str, options: str = "") -> str:
    """Return the address of a new database, made with these options of `CREATE DATABASE`."""
    name = f"test_{uuid.uuid4().hex}"
    await execute(server_url, f"CREATE DATABASE {name} {options}")
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


async def drop_database(server_url: str, url: str) -> None:
    """Drop the database, whoever is still connected to it."""
    await execute(server_url, f"DROP DATABASE {database_name(url)} WITH (FORCE)")


def database_name(url: str) -> str:
    """Return the name of the database at the address."""
    return urlsplit(url).path.removeprefix("/")


def alembic_config(url: str) -> Config:
    """Return Alembic's configuration for the database at the URL."""
    config = Config(ROOT / "alembic.ini")
    config.attributes["database_url"] = url
    return config


async def migrate(
    url: str, revision: str = "head", *, run: Callable[[Config, str], None] = command.upgrade
) -> None:
    """Bring the database to the revision; in a thread, because Alembic runs a loop of its own."""
    await asyncio.to_thread(run, alembic_config(url), revision)


@asynccontextmanager
async def open_engine(
    url: str, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> AsyncIterator[AsyncEngine]:
    """Give an engine as the service makes it."""
    settings = Settings(database_url=SecretStr(url), database_timeout_seconds=timeout_seconds)
    engine = DATABASE.engine(settings)
    try:
        yield engine
    finally:
        await engine.dispose()


@pytest.fixture
async def migrated_database_url(
    postgres_server_url: str, database_template: str
) -> AsyncIterator[str]:
    """A database of the test's own, with our schema and no rows."""
    url = await make_database(postgres_server_url, f"TEMPLATE {database_name(database_template)}")
    yield url
    await drop_database(postgres_server_url, url)


@pytest.fixture
async def migrated_engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine for a database of the test's own, with our schema and no rows."""
    async with open_engine(migrated_database_url) as engine:
        yield engine
