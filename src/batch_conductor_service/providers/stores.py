"""Where state is kept: in Redis with Postgres behind it, in Redis alone, or in this process.

What is opened here is closed here, in reverse order.
"""

import os
import secrets
import socket
from collections import deque
from collections.abc import AsyncIterator
from typing import NewType

from dishka import AnyOf, Provider, Scope, provide
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.config import Settings
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.memory.batch_state import MockBatchStateRepositoryImpl
from batch_conductor_service.implementations.memory.stand_ins import MemoryFreshnessBoard
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.postgres.tables import DATABASE
from batch_conductor_service.implementations.redis import keys, rights
from batch_conductor_service.implementations.redis.batch_state import (
    RedisCachedBatchStateRepositoryImpl,
)
from batch_conductor_service.implementations.redis.freshness import RedisFreshnessBoard
from batch_conductor_service.implementations.redis.planning import WritePlanner
from batch_conductor_service.implementations.redis.queue import (
    RedisPersistenceQueue,
    WaitingEntries,
)
from batch_conductor_service.implementations.redis.retention import RedisUnarchivedBatches
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId
from batch_conductor_service.operating.progress import QueueProgress
from batch_conductor_service.persisting.archiving import UnarchivedSweeper
from batch_conductor_service.persisting.worker import PersistenceWorker, WorkPolicy
from batch_conductor_service.protocols import (
    BatchRecordsProtocol,
    BatchStateArchiveProtocol,
    BatchStateRepositoryProtocol,
    FreshnessBoardProtocol,
    PersistenceQueueProtocol,
    PersistenceStoreProtocol,
    QueuedUpdatesProtocol,
    UnarchivedBatchesProtocol,
)
from service_libs.breakers import CircuitBreakers
from service_libs.kafka.policy import seat_at
from service_libs.postgres.health import PostgresProbe
from service_libs.protocols import (
    BackgroundTaskProtocol,
    ClockProtocol,
    HealthProbeProtocol,
    ProgressProtocol,
    ReplayRequestsProtocol,
)
from service_libs.redis.address import read_url
from service_libs.redis.connections import RedisPolicy
from service_libs.redis.health import RedisProbe
from service_libs.redis.transactions import AtomicRedisClientProtocol, RedisClient
from service_libs.url_options import log_passed_over

RECENT_BATCHES = 1000  # a batch that is written often stands there more than once

RedisAddress = NewType("RedisAddress", str)


class MemoryProvider(Provider):
    """State in this process only: nothing to persist, and nothing to ask whether it answers."""

    scope = Scope.APP

    repository = provide(MockBatchStateRepositoryImpl, provides=BatchStateRepositoryProtocol)
    board = provide(MemoryFreshnessBoard, provides=FreshnessBoardProtocol)

    @provide(provides=AnyOf[PersistenceQueueProtocol | None, ReplayRequestsProtocol | None])
    def nothing(self) -> None:
        return None


class RedisProvider(Provider):
    """State in Redis."""

    scope = Scope.APP

    board = provide(RedisFreshnessBoard, provides=FreshnessBoardProtocol)
    waiting = provide(WaitingEntries)
    repository = provide(RedisCachedBatchStateRepositoryImpl, provides=BatchStateRepositoryProtocol)

    @provide
    def recent(self) -> deque[BatchId]:
        """Return what the repository notes for the regular sample: the batches written lately."""
        return deque(maxlen=RECENT_BATCHES)

    @provide
    def policy(self, settings: Settings) -> RedisPolicy:
        return RedisPolicy(
            timeout_seconds=settings.redis_timeout_seconds,
            max_connections=settings.redis_max_connections,
        )

    @provide
    def address(self, settings: Settings) -> RedisAddress:
        url = read_url(settings.redis_url.get_secret_value(), setting=keys.NAMES.setting)
        log_passed_over(keys.NAMES.setting, url.passed_over)
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


class PostgresProvider(Provider):
    """Postgres behind Redis: the archive, and the queue and worker that fill it."""

    scope = Scope.APP

    store = provide(
        PostgresBatchStateRepository,
        provides=AnyOf[
            PostgresBatchStateRepository, PersistenceStoreProtocol, BatchStateArchiveProtocol | None
        ],
    )
    probe = provide(PostgresProbe, provides=HealthProbeProtocol)
    unarchived = provide(RedisUnarchivedBatches, provides=UnarchivedBatchesProtocol)
    sweeper = provide(UnarchivedSweeper, provides=BackgroundTaskProtocol)
    worker = provide(PersistenceWorker, provides=BackgroundTaskProtocol)
    progress = provide(QueueProgress, provides=ProgressProtocol)

    @provide
    async def engine(self, settings: Settings) -> AsyncIterator[AsyncEngine]:
        engine = DATABASE.engine(settings)
        log_passed_over("BCS_DATABASE_URL", DATABASE.address(settings).passed_over)
        yield engine
        await engine.dispose()

    @provide(
        provides=AnyOf[
            RedisPersistenceQueue, PersistenceQueueProtocol, PersistenceQueueProtocol | None
        ]
    )
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
            worker_name=worker_name(settings),
            takeover_seconds=settings.persistence_takeover_seconds,
            waiting=waiting,
        )
        yield queue
        await queue.close()

    @provide
    def work_policy(self, settings: Settings) -> WorkPolicy | None:
        return WorkPolicy(
            max_entries=settings.persistence_batch_size, max_bytes=settings.persistence_batch_bytes
        )


def worker_name(settings: Settings) -> str:
    """Return the same name for whoever starts where a worker died, and to no two that live."""
    seat = seat_at(settings.http_host, settings.http_port)
    return seat or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class NoPostgresProvider(Provider):
    """Redis is all there is: nothing waits for Postgres, and nothing can be had from it."""

    scope = Scope.APP

    @provide(
        provides=AnyOf[
            BatchStateArchiveProtocol | None,
            BatchRecordsProtocol | None,
            PersistenceQueueProtocol | None,
            QueuedUpdatesProtocol | None,
        ]
    )
    def nothing(self) -> None:
        return None
