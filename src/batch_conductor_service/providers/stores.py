"""Where state is kept: in Redis with Postgres behind it, in Redis alone, or in this process.

What is opened here is closed here, in reverse order.
"""

import os
import secrets
import socket
from collections.abc import AsyncIterator
from typing import NewType

from dishka import AnyOf, Provider, Scope, provide
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.config import Settings
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.memory.batch_state import MockBatchStateRepositoryImpl
from batch_conductor_service.implementations.memory.freshness import MemoryFreshnessBoard
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.postgres.engine import create_engine, database_address
from batch_conductor_service.implementations.redis import keys, rights
from batch_conductor_service.implementations.redis.batch_state import (
    RedisCachedBatchStateRepositoryImpl,
)
from batch_conductor_service.implementations.redis.freshness import RedisFreshnessBoard
from batch_conductor_service.implementations.redis.planning import WritePlanner
from batch_conductor_service.implementations.redis.queue import (
    RedisPersistenceQueue,
    RedisUnarchivedBatches,
    WaitingEntries,
)
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.operating.progress import QueueProgress
from batch_conductor_service.persisting.archiving import UnarchivedSweeper
from batch_conductor_service.persisting.worker import PersistenceWorker
from batch_conductor_service.protocols import (
    BatchStateArchiveProtocol,
    BatchStateRepositoryProtocol,
    FreshnessBoardProtocol,
    PersistenceQueueProtocol,
)
from batch_conductor_service.providers.policies import redis_policy, work_policy
from service_libs.breakers import CircuitBreakers
from service_libs.postgres.health import PostgresProbe
from service_libs.protocols import (
    BackgroundTaskProtocol,
    ClockProtocol,
    DlqProducerProtocol,
    HealthProbeProtocol,
    ProgressProtocol,
)
from service_libs.redis.address import read_url
from service_libs.redis.client import RedisClient
from service_libs.redis.connections import RedisPolicy
from service_libs.redis.health import RedisProbe
from service_libs.redis.transactions import AtomicRedisClientProtocol
from service_libs.url_options import tell_passed_over

RedisAddress = NewType("RedisAddress", str)


class MemoryProvider(Provider):
    """State in this process only: nothing to persist, and nothing to ask whether it answers."""

    scope = Scope.APP

    repository = provide(MockBatchStateRepositoryImpl, provides=BatchStateRepositoryProtocol)
    board = provide(MemoryFreshnessBoard, provides=FreshnessBoardProtocol)

    @provide
    def queue(self) -> PersistenceQueueProtocol | None:
        return None


class RedisProvider(Provider):
    """State in Redis."""

    scope = Scope.APP

    board = provide(RedisFreshnessBoard, provides=FreshnessBoardProtocol)

    @provide
    def waiting(self) -> WaitingEntries:
        return WaitingEntries()

    @provide
    def policy(self, settings: Settings) -> RedisPolicy:
        return redis_policy(settings)

    @provide
    def address(self, settings: Settings) -> RedisAddress:
        url = read_url(settings.redis_url.get_secret_value(), setting=keys.NAMES.setting)
        tell_passed_over(keys.NAMES.setting, url.passed_over)
        return RedisAddress(url.text)

    @provide(provides=AnyOf[RedisClient, AtomicRedisClientProtocol])
    async def client(
        self, address: RedisAddress, policy: RedisPolicy, metrics: Metrics
    ) -> AsyncIterator[RedisClient]:
        client = RedisClient(address, policy, keys.NAMES, metrics)
        yield client
        await client.close()

    @provide
    async def probe(
        self, address: RedisAddress, policy: RedisPolicy
    ) -> AsyncIterator[HealthProbeProtocol]:
        probe = RedisProbe(
            address, policy, keys.NAMES, rehearsed=rights.COMMANDS, watched=rights.WATCHED
        )
        yield probe
        await probe.close()

    @provide
    def planner(
        self,
        archive: BatchStateArchiveProtocol | None,
        breakers: CircuitBreakers,
        clock: ClockProtocol,
        dependencies: StepDependencies,
        settings: Settings,
    ) -> WritePlanner:
        return WritePlanner(archive, breakers, clock, dependencies, settings.redis_ttl_seconds)

    repository = provide(RedisCachedBatchStateRepositoryImpl, provides=BatchStateRepositoryProtocol)


class PostgresProvider(Provider):
    """Postgres behind Redis: the archive, and the queue and worker that fill it."""

    scope = Scope.APP

    store = provide(PostgresBatchStateRepository)
    probe = provide(PostgresProbe, provides=HealthProbeProtocol)

    @provide
    async def engine(self, settings: Settings) -> AsyncIterator[AsyncEngine]:
        engine = create_engine(settings)
        tell_passed_over("BCS_DATABASE_URL", database_address(settings).passed_over)
        yield engine
        await engine.dispose()

    @provide
    def archive(self, store: PostgresBatchStateRepository) -> BatchStateArchiveProtocol | None:
        return store

    @provide(provides=AnyOf[RedisPersistenceQueue, PersistenceQueueProtocol | None])
    async def queue(
        self,
        address: RedisAddress,
        policy: RedisPolicy,
        settings: Settings,
        waiting: WaitingEntries,
    ) -> AsyncIterator[RedisPersistenceQueue]:
        queue = RedisPersistenceQueue(
            address,
            policy,
            worker_name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
            takeover_seconds=settings.persistence_takeover_seconds,
            waiting=waiting,
        )
        yield queue
        await queue.close()

    @provide
    def sweeper(
        self, redis: AtomicRedisClientProtocol, repository: BatchStateRepositoryProtocol
    ) -> BackgroundTaskProtocol:
        return UnarchivedSweeper(RedisUnarchivedBatches(redis), repository)

    @provide
    def progress(self, queue: RedisPersistenceQueue) -> ProgressProtocol:
        return QueueProgress(queue)

    @provide
    def worker(
        self,
        queue: RedisPersistenceQueue,
        store: PostgresBatchStateRepository,
        dlq: DlqProducerProtocol,
        metrics: Metrics,
        settings: Settings,
    ) -> BackgroundTaskProtocol:
        return PersistenceWorker(queue, store, dlq, metrics, work_policy(settings))


class NoPostgresProvider(Provider):
    """Redis is all there is: nothing waits for Postgres, and nothing can be had from it."""

    scope = Scope.APP

    @provide
    def archive(self) -> BatchStateArchiveProtocol | None:
        return None

    @provide
    def queue(self) -> PersistenceQueueProtocol | None:
        return None
