"""What looks after state: the audit, the repair, the regular sample."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dishka import AnyOf, Provider, Scope, alias, provide

from batch_conductor_service.config import Settings
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.postgres.inspection import PostgresBatchRecords
from batch_conductor_service.implementations.postgres.retention import PostgresIdleBatches
from batch_conductor_service.implementations.postgres.tables import DATABASE
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.inspection import RedisBatchCache
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.implementations.redis.replays import RedisReplayRequests
from batch_conductor_service.implementations.redis.retention import RedisPassingBatches
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId
from batch_conductor_service.operating.auditing import Auditor, AuditPolicy, Repairer
from batch_conductor_service.operating.drift_sampling import (
    DriftSampler,
    OpenAuditor,
    SamplingPolicy,
)
from batch_conductor_service.operating.retention import Retention
from batch_conductor_service.protocols import (
    BatchCacheProtocol,
    BatchRecordsProtocol,
    BatchStateRepositoryProtocol,
    IdleBatchesProtocol,
    PassingBatchesProtocol,
    QueuedUpdatesProtocol,
)
from batch_conductor_service.providers.stores import RedisAddress
from service_libs.protocols import BackgroundTaskProtocol, ReplayRequestsProtocol
from service_libs.redis.connections import RedisPolicy
from service_libs.redis.transactions import RedisClient
from service_libs.retention import RetentionPolicy


class RedisAuditProvider(Provider):
    """What Redis knows, compared with itself and with what there is behind it."""

    scope = Scope.APP

    cache = provide(RedisBatchCache, provides=BatchCacheProtocol)
    requests = provide(RedisReplayRequests, provides=ReplayRequestsProtocol | None)
    auditor = provide(Auditor)

    @provide
    def policy(self) -> AuditPolicy:
        return AuditPolicy()


class PostgresAuditProvider(Provider):
    """What Postgres knows, bringing the two together, and what is done about both regularly."""

    scope = Scope.APP

    records = provide(
        PostgresBatchRecords, provides=AnyOf[BatchRecordsProtocol, BatchRecordsProtocol | None]
    )
    queue = alias(RedisPersistenceQueue, provides=QueuedUpdatesProtocol | None)
    repairer = provide(Repairer)
    idle = provide(PostgresIdleBatches, provides=IdleBatchesProtocol)
    passing = provide(RedisPassingBatches, provides=PassingBatchesProtocol)
    retention = provide(Retention, provides=BackgroundTaskProtocol)

    @provide
    def retention_policy(self, settings: Settings) -> RetentionPolicy:
        return RetentionPolicy(days=settings.retention_days, at_a_time=20)

    @provide
    def sampler(
        self,
        open_auditor: OpenAuditor,
        repository: BatchStateRepositoryProtocol,
        recent: deque[BatchId],
        metrics: Metrics,
        settings: Settings,
    ) -> BackgroundTaskProtocol:
        policy = SamplingPolicy(interval_seconds=settings.audit_interval_seconds)
        return DriftSampler(open_auditor, repository, recent, metrics.state_drift.set, policy)

    @provide
    def open_auditor(
        self,
        settings: Settings,
        address: RedisAddress,
        policy: RedisPolicy,
        metrics: Metrics,
        dependencies: StepDependencies,
    ) -> OpenAuditor:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Auditor]:
            """Give an auditor with connections of its own, for another loop than that of these."""
            client = RedisClient(address, policy, keys.NAMES, metrics)
            queue = RedisPersistenceQueue(
                address,
                policy,
                worker_name="auditor",
                takeover_seconds=settings.persistence_takeover_seconds,
            )
            engine = DATABASE.engine(settings)
            store = PostgresBatchStateRepository(engine, dependencies)
            try:
                records = PostgresBatchRecords(engine, store)
                cache = RedisBatchCache(client, dependencies)
                yield Auditor(cache, records, queue, dependencies, AuditPolicy())
            finally:
                await engine.dispose()
                await queue.close()
                await client.close()

        return opened
