"""The repositories that keep the contract, opened by name."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.redis import keys, rights
from batch_conductor_service.implementations.redis.batch_state import (
    RedisCachedBatchStateRepositoryImpl,
)
from batch_conductor_service.implementations.redis.planning import WritePlanner
from batch_conductor_service.implementations.redis.queue import WaitingEntries
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId
from batch_conductor_service.protocols import BatchStateArchiveProtocol
from service_libs.breakers import CircuitBreakers
from service_libs.redis.connections import RedisPolicy
from service_libs.redis.health import RedisProbe
from service_libs.redis.transactions import RedisClient
from service_libs.timing import SystemClock
from tests.support.pipelines import DEPENDENCIES


@dataclass(frozen=True, kw_only=True)
class RedisSetup:
    """A repository on Redis with what is behind it."""

    repository: RedisCachedBatchStateRepositoryImpl
    client: RedisClient
    metrics: Metrics
    recent: deque[BatchId]


@asynccontextmanager
async def redis_repository(
    url: str,
    archive: BatchStateArchiveProtocol | None = None,
    *,
    policy: RedisPolicy | None = None,
    ttl_seconds: int = 600,
    waiting: WaitingEntries | None = None,
    dependencies: StepDependencies = DEPENDENCIES,
) -> AsyncIterator[RedisSetup]:
    """Open a repository on Redis; `max_attempts=0` in the policy makes it write in lanes."""
    metrics = Metrics(CollectorRegistry())
    client = RedisClient(url, policy or RedisPolicy(), keys.NAMES, metrics)
    breakers = CircuitBreakers(metrics)
    planner = WritePlanner(archive, breakers, SystemClock(), dependencies, ttl_seconds)
    recent: deque[BatchId] = deque()
    repository = RedisCachedBatchStateRepositoryImpl(
        client, planner, breakers, waiting or WaitingEntries(), recent
    )
    try:
        yield RedisSetup(repository=repository, client=client, metrics=metrics, recent=recent)
    finally:  # uvloop does not end while a connection is open, so neither would a test that fails
        await client.close()


def redis_probe(url: str, policy: RedisPolicy | None = None) -> RedisProbe:
    """Return the probe of the service."""
    return RedisProbe(
        url,
        policy or RedisPolicy(),
        keys.NAMES,
        rehearsed=rights.COMMANDS,
        watched=rights.WATCHED,
    )


IN_LANES = RedisPolicy(max_attempts=0)
