"""The repositories that keep the contract, opened by name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from batch_conductor_service.breakers import CircuitBreakers
from batch_conductor_service.clock import SystemClock
from batch_conductor_service.implementations.redis.batch_state import (
    RedisCachedBatchStateRepositoryImpl,
)
from batch_conductor_service.implementations.redis.client import RedisClient
from batch_conductor_service.implementations.redis.connections import RedisPolicy
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.protocols import BatchStateArchiveProtocol, PersistenceQueueProtocol


@dataclass(frozen=True, kw_only=True)
class RedisSetup:
    """A repository on Redis with what is behind it."""

    repository: RedisCachedBatchStateRepositoryImpl
    client: RedisClient
    metrics: Metrics


@asynccontextmanager
async def redis_repository(
    url: str,
    archive: BatchStateArchiveProtocol | None = None,
    *,
    policy: RedisPolicy | None = None,
    ttl_seconds: int = 600,
    queue: PersistenceQueueProtocol | None = None,
) -> AsyncIterator[RedisSetup]:
    """Open a repository on Redis; `max_attempts=0` in the policy makes it write by the script."""
    metrics = Metrics(CollectorRegistry())
    client = RedisClient(url, policy or RedisPolicy(), metrics)
    repository = RedisCachedBatchStateRepositoryImpl(
        client,
        archive,
        CircuitBreakers(metrics),
        SystemClock(),
        ttl_seconds=ttl_seconds,
        queue=queue,
    )
    yield RedisSetup(repository=repository, client=client, metrics=metrics)
    await client.close()


BY_SCRIPT = RedisPolicy(max_attempts=0)
