"""Events in; dead letters and skip events out; and whether the service listens."""

from dishka import AnyOf, Provider, Scope, provide

from batch_conductor_service.config import Settings
from batch_conductor_service.consuming.checkpoints import Checkpoints
from batch_conductor_service.consuming.durability import DurabilityTracker
from batch_conductor_service.consuming.group_freshness import (
    AlwaysFresh,
    FreshnessExchange,
    GroupFreshness,
)
from batch_conductor_service.consuming.handling import PollHandler
from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.kafka.skip_events import KafkaSkipEventPublisher
from batch_conductor_service.implementations.memory.stand_ins import (
    NoOpDlqProducerImpl,
    NoOpSkipEventPublisher,
)
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.operating.progress import (
    ConsumerProgress,
    FreshnessProgress,
)
from batch_conductor_service.protocols import (
    BatchStateRepositoryProtocol,
    FreshnessBoardProtocol,
    FreshnessProtocol,
    SkipEventPublisherProtocol,
)
from common_core.topics import consumed_topics
from service_libs.kafka.dead_letter_format import DeadLetterFormat
from service_libs.kafka.held_letters import OnceOnlyDlqProducer
from service_libs.kafka.policy import DeadLetterLimit, seat_at
from service_libs.kafka.providers import KafkaAccess, NoteLook
from service_libs.kafka.record_source import KafkaRecordSource
from service_libs.protocols import (
    BackgroundTaskProtocol,
    ClockProtocol,
    Connect,
    DlqProducerProtocol,
    ProgressProtocol,
)

CLIENT_ID = "batch-conductor-service"
LETTERS = DeadLetterFormat(service="batch_conductor_service", prefix="bcs_dlq-")

# Of the shutdown's time, and of the tasks' share of it, which `service_libs.lifecycle` has.
DRAIN_SHARE = 0.15
LEAVE_SHARE = 0.05

REBALANCE_FACTOR = 3  # how much longer than its session the group waits for a member
DLQ_WINDOW_FACTOR = 5  # how many times more records are looked at than may be invalid


class KafkaProvider(Provider):
    """Where Kafka is, and skip events out."""

    scope = Scope.APP

    skips = provide(KafkaSkipEventPublisher, provides=SkipEventPublisherProtocol)

    @provide
    def access(self, settings: Settings) -> KafkaAccess:
        return KafkaAccess(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            client_id=CLIENT_ID,
            group_id=settings.kafka_consumer_group_id,
            topics=consumed_topics(),
            letters=LETTERS,
            enable_idempotence=settings.kafka_enable_idempotence,
            request_timeout_seconds=settings.kafka_request_timeout_seconds,
        )


class ConsumingProvider(Provider):
    """The consumer, and what it is made of."""

    scope = Scope.APP

    tracker = provide(DurabilityTracker)
    checkpoints = provide(Checkpoints)
    consumer = provide(EventConsumer, provides=AnyOf[EventConsumer, BackgroundTaskProtocol])

    @provide
    def policy(self, settings: Settings) -> ConsumerPolicy:
        return consumer_policy(settings)

    @provide
    def connect(self, policy: ConsumerPolicy, clock: ClockProtocol) -> Connect:
        return lambda on_revoked: KafkaRecordSource(policy, consumed_topics(), on_revoked, clock)

    @provide
    def handler(
        self,
        repository: BatchStateRepositoryProtocol,
        dlq: OnceOnlyDlqProducer,
        policy: ConsumerPolicy,
        metrics: Metrics,
        clock: ClockProtocol,
        dependencies: StepDependencies,
    ) -> PollHandler:
        return PollHandler(repository, dlq, policy, metrics, clock, dependencies)


class ListeningProvider(Provider):
    """Beside the consumer, and whatever becomes of it."""

    scope = Scope.APP

    @provide
    def progress(self, consumer: EventConsumer, freshness: GroupFreshness) -> ProgressProtocol:
        return ConsumerProgress(consumer, freshness)

    @provide
    def freshness_progress(self, freshness: GroupFreshness) -> ProgressProtocol:
        return FreshnessProgress(freshness)

    @provide(provides=AnyOf[GroupFreshness, FreshnessProtocol])
    def freshness(self, clock: ClockProtocol, settings: Settings) -> GroupFreshness:
        return GroupFreshness(clock, max_staleness_seconds=settings.max_staleness_seconds)

    @provide
    def exchange(
        self,
        consumer: EventConsumer,
        board: FreshnessBoardProtocol,
        freshness: GroupFreshness,
        metrics: Metrics,
    ) -> BackgroundTaskProtocol:
        return FreshnessExchange(consumer.promises, board, freshness, metrics.freshness_age.set)

    @provide
    def note_look(self, freshness: GroupFreshness) -> NoteLook:
        return freshness.note_look


class NoKafkaProvider(Provider):
    """Nothing comes in and nothing goes out; what would go out is logged."""

    scope = Scope.APP

    dlq = provide(NoOpDlqProducerImpl, provides=DlqProducerProtocol)
    freshness = provide(AlwaysFresh, provides=FreshnessProtocol)
    skips = provide(NoOpSkipEventPublisher, provides=SkipEventPublisherProtocol)


def consumer_policy(settings: Settings) -> ConsumerPolicy:
    """Return how the consumer behaves."""
    session_timeout_seconds = settings.kafka_session_timeout_seconds
    return ConsumerPolicy(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=settings.kafka_consumer_group_id,
        seat=seat_at(settings.http_host, settings.http_port),
        max_poll_records=settings.kafka_max_poll_records,
        session_timeout_seconds=session_timeout_seconds,
        request_timeout_seconds=settings.kafka_request_timeout_seconds,
        rebalance_timeout_seconds=REBALANCE_FACTOR * session_timeout_seconds,
        commit_interval_seconds=settings.offset_commit_interval_seconds,
        drain_timeout_seconds=min(
            DRAIN_SHARE * settings.shutdown_timeout_seconds, session_timeout_seconds
        ),
        close_timeout_seconds=LEAVE_SHARE * settings.shutdown_timeout_seconds,
        stuck_timeout_seconds=settings.stuck_consumer_timeout_seconds,
        queue_high_water=settings.persistence_queue_high_water,
        max_clock_skew_seconds=settings.max_clock_skew_seconds,
        queue_high_water_bytes=settings.persistence_queue_high_water_bytes,
        dlq_limit=DeadLetterLimit(
            max_invalid_ratio=settings.dlq_max_invalid_ratio,
            min_invalid_records=settings.dlq_min_invalid_records,
            window=DLQ_WINDOW_FACTOR * settings.dlq_min_invalid_records,
        ),
    )
