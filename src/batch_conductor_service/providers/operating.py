"""What looks after state: the audit, the repair, the regular sample, and the replay."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from dishka import AnyOf, Provider, Scope, provide
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.config import Settings
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.postgres.engine import create_engine
from batch_conductor_service.implementations.postgres.inspection import PostgresBatchRecords
from batch_conductor_service.implementations.postgres.retention import PostgresIdleBatches
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.inspection import RedisBatchCache
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.implementations.redis.replays import RedisReplayRequests
from batch_conductor_service.implementations.redis.retention import RedisPassingBatches
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.operating.auditing import Auditor
from batch_conductor_service.operating.drift_sampling import DriftSampler, RecentBatches
from batch_conductor_service.operating.repairing import Repairer
from batch_conductor_service.operating.replaying import Replayer
from batch_conductor_service.operating.retention import Retention
from batch_conductor_service.protocols import (
    BatchCacheProtocol,
    BatchRecordsProtocol,
    BatchStateRepositoryProtocol,
    ConsumerGroupProtocol,
    QueuedUpdatesProtocol,
    ReplayRequestsProtocol,
)
from batch_conductor_service.providers.policies import (
    redis_policy,
    retention_policy,
    sampling_policy,
)
from batch_conductor_service.providers.stores import RedisAddress
from service_libs.kafka.group import KafkaConsumerGroup
from service_libs.protocols import BackgroundTaskProtocol
from service_libs.redis.client import RedisClient
from service_libs.redis.transactions import AtomicRedisClientProtocol


class MemoryAuditProvider(Provider):
    """One copy of the state: nothing to compare it with, and nobody else to ask for a replay."""

    scope = Scope.APP

    @provide
    def requests(self) -> ReplayRequestsProtocol | None:
        return None


class RedisAuditProvider(Provider):
    """What Redis knows, compared with itself and with what there is behind it."""

    scope = Scope.APP

    cache = provide(RedisBatchCache, provides=BatchCacheProtocol)

    @provide
    def requests(self, redis: AtomicRedisClientProtocol) -> ReplayRequestsProtocol | None:
        return RedisReplayRequests(redis)

    @provide
    def auditor(
        self,
        cache: BatchCacheProtocol,
        records: BatchRecordsProtocol | None,
        queue: QueuedUpdatesProtocol | None,
        dependencies: StepDependencies,
    ) -> Auditor:
        return Auditor(cache, records, queue, dependencies)


class PostgresAuditProvider(Provider):
    """What Postgres knows, and bringing the two together."""

    scope = Scope.APP

    records = provide(
        PostgresBatchRecords, provides=AnyOf[PostgresBatchRecords, BatchRecordsProtocol | None]
    )

    @provide
    def queue(self, queue: RedisPersistenceQueue) -> QueuedUpdatesProtocol | None:
        return queue

    @provide
    def repairer(
        self,
        auditor: Auditor,
        cache: BatchCacheProtocol,
        records: PostgresBatchRecords,
        repository: BatchStateRepositoryProtocol,
    ) -> Repairer:
        return Repairer(auditor, cache, records, repository)

    @provide
    def retention(
        self,
        engine: AsyncEngine,
        redis: AtomicRedisClientProtocol,
        metrics: Metrics,
        settings: Settings,
    ) -> BackgroundTaskProtocol:
        return Retention(
            retention_policy(settings),
            PostgresIdleBatches(engine),
            RedisPassingBatches(redis),
            metrics.batches_deleted.inc,
        )

    @provide
    def sampler(
        self,
        address: RedisAddress,
        dependencies: StepDependencies,
        repository: BatchStateRepositoryProtocol,
        recent: RecentBatches,
        metrics: Metrics,
        settings: Settings,
    ) -> BackgroundTaskProtocol:
        def open_auditor() -> AbstractAsyncContextManager[Auditor]:
            return _own_auditor(settings, address, metrics, dependencies)

        return DriftSampler(
            open_auditor, repository, recent, metrics.state_drift.set, sampling_policy(settings)
        )


class NoPostgresAuditProvider(Provider):
    """Without Postgres."""

    scope = Scope.APP

    @provide
    def records(self) -> BatchRecordsProtocol | None:
        return None

    @provide
    def queue(self) -> QueuedUpdatesProtocol | None:
        return None


class ReplayProvider(Provider):
    """Moving the consumer group back."""

    scope = Scope.APP

    replayer = provide(Replayer)

    @provide
    def group(self, settings: Settings) -> ConsumerGroupProtocol:
        return KafkaConsumerGroup(
            settings.kafka_bootstrap_servers,
            settings.kafka_consumer_group_id,
            request_timeout_seconds=settings.kafka_request_timeout_seconds,
        )


@asynccontextmanager
async def _own_auditor(
    settings: Settings, address: RedisAddress, metrics: Metrics, dependencies: StepDependencies
) -> AsyncIterator[Auditor]:
    """Give an auditor with connections of its own, for another event loop than the container's."""
    policy = redis_policy(settings)
    client = RedisClient(address, policy, keys.NAMES, metrics)
    queue = RedisPersistenceQueue(
        address,
        policy,
        worker_name="auditor",
        takeover_seconds=settings.persistence_takeover_seconds,
    )
    engine = create_engine(settings)
    try:
        records = PostgresBatchRecords(engine, PostgresBatchStateRepository(engine, dependencies))
        yield Auditor(RedisBatchCache(client, dependencies), records, queue, dependencies)
    finally:
        await engine.dispose()
        await queue.close()
        await client.close()
