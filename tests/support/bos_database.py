"""Databases with BOS's schema, and engines for them."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from alembic import command
from batch_orchestrator_service.config import Settings
from batch_orchestrator_service.implementations.postgres.tables import DATABASE
from tests.support.database import ROOT


def bos_config(url: str) -> Config:
    """Return Alembic's configuration for BOS's tables in the database at the URL."""
    config = Config(ROOT / "alembic.ini", ini_section="bos")
    config.attributes["database_url"] = url
    return config


@pytest.fixture
async def bos_database_url(database_url: str) -> str:
    """A database of the test's own, with BOS's schema and no rows."""
    await asyncio.to_thread(command.upgrade, bos_config(database_url), "head")
    return database_url


@pytest.fixture
async def bos_engine(bos_database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine for it, as the service makes it."""
    engine = DATABASE.engine(Settings(database_url=SecretStr(bos_database_url)))
    try:
        yield engine
    finally:
        await engine.dispose()
