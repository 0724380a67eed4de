"""The adapters, a provider for each technology, and one for doing without it.

What is opened here is closed here, in reverse order.
"""

import os
import secrets
import socket
from collections.abc import AsyncIterator
from typing import NewType

from dishka import AnyOf, Provider, Scope, provide
from redis.asyncio.connection import parse_url
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.breakers import CircuitBreakers
from batch_conductor_service.config import Settings
from batch_conductor_service.exceptions import SettingsError
from batch_conductor_service.health import ProgressProtocol
from batch_conductor_service.implementations.kafka.dlq_producer import KafkaDlqProducerImpl
from batch_conductor_service.implementations.kafka.health import KafkaProbe
from batch_conductor_service.implementations.kafka.producer import KafkaProducerClient
from batch_conductor_service.implementations.kafka.skip_events import KafkaSkipEventPublisher
from batch_conductor_service.implementations.memory.batch_state import MockBatchStateRepositoryImpl
from batch_conductor_service.implementations.memory.dlq_producer import (
    NoOpDlqProducerImpl,
    NoOpSkipEventPublisher,
)
from batch_conductor_service.implementations.memory.freshness import MemoryFreshnessBoard
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.postgres.engine import create_engine
from batch_conductor_service.implementations.postgres.health import PostgresProbe
from batch_conductor_service.implementations.redis.batch_state import (
    RedisCachedBatchStateRepositoryImpl,
)
from batch_conductor_service.implementations.redis.client import RedisClient
from batch_conductor_service.implementations.redis.connections import RedisPolicy
from batch_conductor_service.implementations.redis.freshness import RedisFreshnessBoard
from batch_conductor_service.implementations.redis.health import AdvisingRedisProbe, RedisProbe
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.persistence_worker import PersistenceWorker
from batch_conductor_service.policies import (
    consumer_policy,
    redis_policy,
)
from batch_conductor_service.progress import QueueProgress
from batch_conductor_service.protocols import (
    AtomicRedisClientProtocol,
    BackgroundTaskProtocol,
    BatchStateArchiveProtocol,
    BatchStateRepositoryProtocol,
    ClockProtocol,
    DlqProducerProtocol,
    FreshnessProtocol,
    HealthProbeProtocol,
    PersistenceQueueProtocol,
    SkipEventPublisherProtocol,
)
from batch_conductor_service.services.drift_sampling import NotingRepository
from batch_conductor_service.services.freshness import AlwaysFresh, FreshnessBoardProtocol
from batch_conductor_service.services.replaying import ReplayRequestsProtocol

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

    probe = provide(AdvisingRedisProbe, provides=HealthProbeProtocol)
    board = provide(RedisFreshnessBoard, provides=FreshnessBoardProtocol)

    @provide
    def policy(self, settings: Settings) -> RedisPolicy:
        return redis_policy(settings)

    @provide
    def address(self, settings: Settings) -> RedisAddress:
        address = settings.redis_url.get_secret_value()
        try:
            parse_url(address)
        except ValueError:  # its text may repeat the URL with the password
            raise SettingsError("BCS_REDIS_URL: not a URL of Redis") from None
        return RedisAddress(address)

    @provide(provides=AnyOf[RedisClient, AtomicRedisClientProtocol])
    async def client(
        self, address: RedisAddress, policy: RedisPolicy, metrics: Metrics
    ) -> AsyncIterator[RedisClient]:
        client = RedisClient(address, policy, metrics)
        yield client
        await client.close()

    @provide
    async def plain_probe(
        self, address: RedisAddress, policy: RedisPolicy
    ) -> AsyncIterator[RedisProbe]:
        probe = RedisProbe(address, policy)
        yield probe
        await probe.close()

    @provide
    def repository(
        self,
        redis: AtomicRedisClientProtocol,
        archive: BatchStateArchiveProtocol | None,
        breakers: CircuitBreakers,
        clock: ClockProtocol,
        queue: PersistenceQueueProtocol | None,
        settings: Settings,
    ) -> BatchStateRepositoryProtocol:
        return RedisCachedBatchStateRepositoryImpl(
            redis, archive, breakers, clock, ttl_seconds=settings.redis_ttl_seconds, queue=queue
        )


class PostgresProvider(Provider):
    """Postgres behind Redis: the archive, and the queue and worker that fill it."""

    scope = Scope.APP

    store = provide(PostgresBatchStateRepository)
    probe = provide(PostgresProbe, provides=HealthProbeProtocol)

    @provide
    async def engine(self, settings: Settings) -> AsyncIterator[AsyncEngine]:
        engine = create_engine(settings)
        yield engine
        await engine.dispose()

    @provide
    def archive(self, store: PostgresBatchStateRepository) -> BatchStateArchiveProtocol | None:
        return store

    @provide(provides=AnyOf[RedisPersistenceQueue, PersistenceQueueProtocol | None])
    async def queue(
        self, address: RedisAddress, policy: RedisPolicy, settings: Settings
    ) -> AsyncIterator[RedisPersistenceQueue]:
        queue = RedisPersistenceQueue(
            address,
            policy,
            worker_name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
            takeover_seconds=settings.persistence_takeover_seconds,
        )
        yield queue
        await queue.close()

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
        return PersistenceWorker(
            queue, store, dlq, metrics, batch_size=settings.persistence_batch_size
        )


class NoPostgresProvider(Provider):
    """Redis is all there is: nothing waits for Postgres, and nothing can be had from it."""

    scope = Scope.APP

    @provide
    def archive(self) -> BatchStateArchiveProtocol | None:
        return None

    @provide
    def queue(self) -> PersistenceQueueProtocol | None:
        return None


class KafkaProvider(Provider):
    """Events in; dead letters and skip events out."""

    scope = Scope.APP

    dlq = provide(KafkaDlqProducerImpl, provides=DlqProducerProtocol)
    skips = provide(KafkaSkipEventPublisher, provides=SkipEventPublisherProtocol)
    probe = provide(KafkaProbe, provides=HealthProbeProtocol)

    @provide
    async def producer(self, settings: Settings) -> AsyncIterator[KafkaProducerClient]:
        producer = KafkaProducerClient(
            settings.kafka_bootstrap_servers,
            enable_idempotence=settings.kafka_enable_idempotence,
            request_timeout_seconds=settings.kafka_request_timeout_seconds,
        )
        yield producer
        await producer.stop()

    repository = provide(NotingRepository)

    @provide
    def consumer(
        self,
        settings: Settings,
        repository: NotingRepository,
        queue: PersistenceQueueProtocol | None,
        dlq: DlqProducerProtocol,
        metrics: Metrics,
        clock: ClockProtocol,
    ) -> EventConsumer:
        return EventConsumer(consumer_policy(settings), repository, queue, dlq, metrics, clock)

    @provide
    def consumer_task(
        self, consumer: EventConsumer, requests: ReplayRequestsProtocol | None
    ) -> BackgroundTaskProtocol:
        if requests is not None:
            consumer.obey(requests)
        return consumer


class NoKafkaProvider(Provider):
    """Nothing comes in and nothing goes out; what would go out is logged."""

    scope = Scope.APP

    dlq = provide(NoOpDlqProducerImpl, provides=DlqProducerProtocol)
    freshness = provide(AlwaysFresh, provides=FreshnessProtocol)
    skips = provide(NoOpSkipEventPublisher, provides=SkipEventPublisherProtocol)
