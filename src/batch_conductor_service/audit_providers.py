"""What looks after state: the audit, the repair, the regular sample, and the replay."""

from dishka import AnyOf, Provider, Scope, provide

from batch_conductor_service.config import Settings
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.kafka.group import KafkaConsumerGroup
from batch_conductor_service.implementations.postgres.inspection import PostgresBatchRecords
from batch_conductor_service.implementations.redis.inspection import RedisBatchCache
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.implementations.redis.replays import RedisReplayRequests
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.policies import sampling_policy
from batch_conductor_service.protocols import (
    AtomicRedisClientProtocol,
    BackgroundTaskProtocol,
    BatchStateRepositoryProtocol,
)
from batch_conductor_service.services.auditing import (
    Auditor,
    BatchCacheProtocol,
    BatchRecordsProtocol,
    QueuedUpdatesProtocol,
)
from batch_conductor_service.services.drift_sampling import DriftSampler, RecentBatches
from batch_conductor_service.services.repairing import Repairer
from batch_conductor_service.services.replaying import (
    ConsumerGroupProtocol,
    Replayer,
    ReplayRequestsProtocol,
)


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
    def sampler(
        self, auditor: Auditor, recent: RecentBatches, metrics: Metrics, settings: Settings
    ) -> BackgroundTaskProtocol:
        return DriftSampler(auditor, recent, metrics.state_drift.set, sampling_policy(settings))


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
