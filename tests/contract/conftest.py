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
from tests.support.pipelines import DEPENDENCIES
from tests.support.repositories import IN_LANES, redis_repository

__all__ = ["migrated_database_url", "migrated_engine"]

REPOSITORIES = ("memory", "postgres", "redis", "redis-in-lanes", "redis-without-archive")


@pytest.fixture(params=REPOSITORIES)
async def repository(
    request: pytest.FixtureRequest, redis_url: str, migrated_engine: AsyncEngine
) -> AsyncIterator[BatchStateRepositoryProtocol]:
    """Each repository on real, empty servers."""
    archive = PostgresBatchStateRepository(migrated_engine, DEPENDENCIES)
    match request.param:
        case "memory":
            yield MockBatchStateRepositoryImpl(DEPENDENCIES)
        case "postgres":
            yield archive
        case "redis-without-archive":
            async with redis_repository(redis_url) as setup:
                yield setup.repository
        case name:
            policy = IN_LANES if name == "redis-in-lanes" else None
            async with redis_repository(redis_url, archive, policy=policy) as setup:
                yield setup.repository
