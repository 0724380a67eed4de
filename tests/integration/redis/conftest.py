"""A repository on Redis with Postgres behind it, and the queue between the two."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from service_libs.redis.connections import RedisPolicy
from tests.support.database import migrated_database_url, migrated_engine
from tests.support.pipelines import DEPENDENCIES
from tests.support.repositories import RedisSetup, redis_repository

__all__ = ["migrated_database_url", "migrated_engine"]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client to look behind the scenes, and to break things there."""
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def archive(migrated_engine: AsyncEngine) -> PostgresBatchStateRepository:
    """Postgres."""
    return PostgresBatchStateRepository(migrated_engine, DEPENDENCIES)


@pytest.fixture
async def setup(redis_url: str, archive: PostgresBatchStateRepository) -> AsyncIterator[RedisSetup]:
    """The repository as production has it."""
    async with redis_repository(redis_url, archive) as opened:
        yield opened


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[RedisPersistenceQueue]:
    """The queue, as one worker sees it."""
    opened = RedisPersistenceQueue(
        redis_url, RedisPolicy(), worker_name="worker-1", takeover_seconds=30
    )
    yield opened
    await opened.close()
