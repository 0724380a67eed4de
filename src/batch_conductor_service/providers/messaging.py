"""Events in; dead letters and skip events out."""

from collections.abc import AsyncIterator
from functools import partial

from dishka import AnyOf, Provider, Scope, provide

from batch_conductor_service.config import Settings
from batch_conductor_service.consuming.checkpoints import Checkpoints
from batch_conductor_service.consuming.durability import DurabilityTracker
from batch_conductor_service.consuming.group_freshness import AlwaysFresh
from batch_conductor_service.consuming.handling import PollHandler
from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.kafka.skip_events import KafkaSkipEventPublisher
from batch_conductor_service.implementations.memory.dlq_producer import (
    NoOpDlqProducerImpl,
    NoOpSkipEventPublisher,
)
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.protocols import (
    BatchStateRepositoryProtocol,
    FreshnessProtocol,
    SkipEventPublisherProtocol,
)
from batch_conductor_service.providers.metric_labels import show_consumer_state
from batch_conductor_service.providers.policies import consumer_policy
from common_core.topics import consumed_topics
from service_libs.kafka.condition import ConditionRecorder
from service_libs.kafka.dead_letter_format import DeadLetterFormat
from service_libs.kafka.dlq_producer import KafkaDlqProducerImpl
from service_libs.kafka.held_letters import HeldDeadLetters, OnceOnlyDlqProducer
from service_libs.kafka.producer import KafkaProbe, KafkaProducerClient
from service_libs.kafka.record_source import KafkaRecordSource
from service_libs.protocols import (
    BackgroundTaskProtocol,
    ClockProtocol,
    Connect,
    DlqProducerProtocol,
    HealthProbeProtocol,
)

CLIENT_ID = "batch-conductor-service"
LETTERS = DeadLetterFormat(service="batch_conductor_service", prefix="bcs_dlq-")


class KafkaProvider(Provider):
    """Dead letters and skip events out, and whether Kafka answers."""

    scope = Scope.APP

    skips = provide(KafkaSkipEventPublisher, provides=SkipEventPublisherProtocol)
    probe = provide(KafkaProbe, provides=HealthProbeProtocol)

    @provide
    async def producer(self, settings: Settings) -> AsyncIterator[KafkaProducerClient]:
        producer = KafkaProducerClient(
            settings.kafka_bootstrap_servers,
            client_id=CLIENT_ID,
            enable_idempotence=settings.kafka_enable_idempotence,
            request_timeout_seconds=settings.kafka_request_timeout_seconds,
        )
        yield producer
        await producer.stop()

    @provide
    def dlq(
        self, producer: KafkaProducerClient, metrics: Metrics, clock: ClockProtocol
    ) -> DlqProducerProtocol:
        return KafkaDlqProducerImpl(producer, LETTERS, metrics, clock)


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
    def condition(self, clock: ClockProtocol, metrics: Metrics) -> ConditionRecorder:
        return ConditionRecorder(clock, partial(show_consumer_state, metrics))

    @provide
    def once_only(
        self, settings: Settings, dlq: DlqProducerProtocol, metrics: Metrics
    ) -> OnceOnlyDlqProducer:
        held = HeldDeadLetters(
            settings.kafka_bootstrap_servers,
            settings.kafka_consumer_group_id,
            LETTERS,
            request_timeout_seconds=settings.kafka_request_timeout_seconds,
        )
        return OnceOnlyDlqProducer(dlq, held, metrics)

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


class NoKafkaProvider(Provider):
    """Nothing comes in and nothing goes out; what would go out is logged."""

    scope = Scope.APP

    dlq = provide(NoOpDlqProducerImpl, provides=DlqProducerProtocol)
    freshness = provide(AlwaysFresh, provides=FreshnessProtocol)
    skips = provide(NoOpSkipEventPublisher, provides=SkipEventPublisherProtocol)
