"""What every service that consumes has of the broker, ready for its container."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from dishka import AnyOf, Provider, Scope, provide

from common_core.records import TopicLook
from service_libs.kafka.broker_look import WATCH_TIMEOUT_SECONDS, KafkaBrokerLook
from service_libs.kafka.broker_watch import BrokerWatch, WatchPolicy
from service_libs.kafka.condition import ConditionRecorder, ConsumerState
from service_libs.kafka.dead_letter_format import DeadLetterFormat
from service_libs.kafka.dlq_producer import KafkaDlqProducerImpl
from service_libs.kafka.group import KafkaConsumerGroup
from service_libs.kafka.held_letters import HeldDeadLetters, OnceOnlyDlqProducer
from service_libs.kafka.producer import KafkaProbe, KafkaProducerClient
from service_libs.kafka.progress import TopicProgress
from service_libs.kafka.replaying import Replayer
from service_libs.metrics import ConsumingMetrics
from service_libs.protocols import (
    BackgroundTaskProtocol,
    ClockProtocol,
    ConsumerGroupProtocol,
    DlqProducerProtocol,
    HealthProbeProtocol,
    ProgressProtocol,
)

# Told of each look at the topics.
NoteLook = Callable[[TopicLook], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaAccess:
    """Where Kafka is, who the service is there, and what it reads.

    Attributes:
        topics: those that it consumes.
        letters: how its dead letters look.
    """

    bootstrap_servers: str
    client_id: str
    group_id: str
    topics: Sequence[str]
    letters: DeadLetterFormat
    enable_idempotence: bool
    request_timeout_seconds: float


class SendingProvider(Provider):
    """The producer, dead letters, and whether Kafka answers."""

    scope = Scope.APP

    probe = provide(KafkaProbe, provides=HealthProbeProtocol)

    @provide
    async def producer(self, access: KafkaAccess) -> AsyncIterator[KafkaProducerClient]:
        producer = KafkaProducerClient(
            access.bootstrap_servers,
            client_id=access.client_id,
            enable_idempotence=access.enable_idempotence,
            request_timeout_seconds=access.request_timeout_seconds,
        )
        yield producer
        await producer.stop()

    @provide
    def dlq(
        self,
        producer: KafkaProducerClient,
        access: KafkaAccess,
        metrics: ConsumingMetrics,
        clock: ClockProtocol,
    ) -> DlqProducerProtocol:
        return KafkaDlqProducerImpl(producer, access.letters, metrics, clock)

    @provide
    def once_only(
        self, access: KafkaAccess, dlq: DlqProducerProtocol, metrics: ConsumingMetrics
    ) -> OnceOnlyDlqProducer:
        held = HeldDeadLetters(
            access.bootstrap_servers,
            access.group_id,
            access.letters,
            request_timeout_seconds=access.request_timeout_seconds,
        )
        return OnceOnlyDlqProducer(dlq, held, metrics)


class GroupProvider(Provider):
    """The consumer group from outside, whatever becomes of the consumer."""

    scope = Scope.APP

    replayer = provide(Replayer)

    @provide
    def condition(self, clock: ClockProtocol, metrics: ConsumingMetrics) -> ConditionRecorder:
        return ConditionRecorder(clock, partial(show_consumer_state, metrics))

    @provide
    def group(self, access: KafkaAccess) -> ConsumerGroupProtocol:
        return KafkaConsumerGroup(
            access.bootstrap_servers,
            access.group_id,
            request_timeout_seconds=access.request_timeout_seconds,
        )

    @provide
    async def broker_look(
        self, access: KafkaAccess, clock: ClockProtocol
    ) -> AsyncIterator[KafkaBrokerLook]:
        look = KafkaBrokerLook(
            access.bootstrap_servers,
            access.group_id,
            clock,
            timeout_seconds=min(WATCH_TIMEOUT_SECONDS, access.request_timeout_seconds),
        )
        yield look
        await look.close()

    @provide(provides=AnyOf[BrokerWatch, BackgroundTaskProtocol])
    def watch(
        self,
        access: KafkaAccess,
        look: KafkaBrokerLook,
        metrics: ConsumingMetrics,
        clock: ClockProtocol,
        note_look: NoteLook,
    ) -> BrokerWatch:
        return BrokerWatch(look, metrics, clock, WatchPolicy(topics=access.topics), note_look)

    @provide
    def topic_progress(self, watch: BrokerWatch) -> ProgressProtocol:
        return TopicProgress(watch)


def show_consumer_state(metrics: ConsumingMetrics, current: ConsumerState) -> None:
    """Show what the consumer is doing: one state is 1, the others 0."""
    for state in ConsumerState:
        metrics.consumer_state.labels(state=state.value).set(state is current)
