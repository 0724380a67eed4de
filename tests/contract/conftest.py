"""Every implementation of the batch state repository, by name."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.implementations.memory.batch_state import MockBatchStateRepositoryImpl
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.protocols import BatchStateRepositoryProtocol
from tests.support.database import migrated_database_url, migrated_engine
from tests.support.repositories import BY_SCRIPT, redis_repository

__all__ = ["migrated_database_url", "migrated_engine"]

REPOSITORIES = ("memory", "postgres", "redis", "redis-by-script", "redis-without-archive")


@pytest.fixture(params=REPOSITORIES)
async def repository(
    request: pytest.FixtureRequest, redis_url: str, migrated_engine: AsyncEngine
) -> AsyncIterator[BatchStateRepositoryProtocol]:
    """Each repository on real, empty servers."""
    archive = PostgresBatchStateRepository(migrated_engine)
    match request.param:
        case "memory":
            yield MockBatchStateRepositoryImpl()
        case "postgres":
            yield archive
        case "redis-without-archive":
            async with redis_repository(redis_url) as setup:
                yield setup.repository
        case name:
            policy = BY_SCRIPT if name == "redis-by-script" else None
            async with redis_repository(redis_url, archive, policy=policy) as setup:
                yield setup.repository
