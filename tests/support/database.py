"""Databases with our schema, and engines for them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from alembic import command
from batch_conductor_service.config import Settings
from batch_conductor_service.implementations.postgres.engine import create_engine

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 10


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
    engine = create_engine(settings)
    try:
        yield engine
    finally:
        await engine.dispose()


@pytest.fixture
async def migrated_database_url(database_url: str) -> str:
    """A database of the test's own, with our schema and no rows."""
    await migrate(database_url)
    return database_url


@pytest.fixture
async def migrated_engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine for a database of the test's own, with our schema and no rows."""
    async with open_engine(migrated_database_url) as engine:
        yield engine
