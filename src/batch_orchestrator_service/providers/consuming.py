"""Events in: the connection, the loop, and what handles each."""

from dishka import AnyOf, Provider, Scope, provide

from batch_orchestrator_service.config import Settings
from batch_orchestrator_service.consuming.facts import BatchFactsHandler, deadlines
from batch_orchestrator_service.consuming.handling import PollHandler
from batch_orchestrator_service.consuming.requests import ClientBatchPipelineRequestHandler
from batch_orchestrator_service.domain.advancing import Deadline
from batch_orchestrator_service.events.decoding import consumed_topics
from batch_orchestrator_service.kafka_consumer import EventConsumer
from batch_orchestrator_service.metrics import Metrics
from service_libs.kafka.consumer import LoopPolicy
from service_libs.kafka.dead_letter_format import DeadLetterFormat
from service_libs.kafka.held_letters import OnceOnlyDlqProducer
from service_libs.kafka.policy import seat_at
from service_libs.kafka.progress import ConsumerProgress
from service_libs.kafka.providers import KafkaAccess, NoteLook
from service_libs.kafka.record_source import KafkaRecordSource
from service_libs.protocols import (
    BackgroundTaskProtocol,
    ClockProtocol,
    Connect,
    ProgressProtocol,
)

CLIENT_ID = "batch-orchestrator-service"
LETTERS = DeadLetterFormat(service="batch_orchestrator_service", prefix="bos_dlq-")

STUCK_SECONDS = 60.0  # lag without progress, or a rebalance without end
REBALANCE_FACTOR = 3  # how much longer than its session the group waits for a member


class ConsumingProvider(Provider):
    """Events in."""

    scope = Scope.APP

    requests = provide(ClientBatchPipelineRequestHandler)
    facts = provide(BatchFactsHandler)
    consumer = provide(EventConsumer, provides=AnyOf[EventConsumer, BackgroundTaskProtocol])

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

    @provide
    def note_look(self) -> NoteLook:
        return lambda _look: None  # nothing here follows from a topic's partitions

    @provide
    def progress(self, consumer: EventConsumer) -> ProgressProtocol:
        return ConsumerProgress(consumer)

    @provide
    def deadline(self, settings: Settings) -> Deadline:
        return deadlines(settings.phase_deadline_seconds, settings.phase_deadlines)

    @provide
    def loop_policy(self, settings: Settings) -> LoopPolicy:
        rebalance_seconds = REBALANCE_FACTOR * settings.kafka_session_timeout_seconds
        return LoopPolicy(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            group_id=settings.kafka_consumer_group_id,
            client_id=CLIENT_ID,
            seat=seat_at(settings.http_host, settings.http_port),
            session_timeout_seconds=settings.kafka_session_timeout_seconds,
            request_timeout_seconds=settings.kafka_request_timeout_seconds,
            rebalance_timeout_seconds=rebalance_seconds,
            stuck_timeout_seconds=max(STUCK_SECONDS, 2 * rebalance_seconds),
        )

    @provide
    def connect(self, policy: LoopPolicy, clock: ClockProtocol) -> Connect:
        return lambda on_revoked: KafkaRecordSource(policy, consumed_topics(), on_revoked, clock)

    @provide
    def handler(
        self,
        requests: ClientBatchPipelineRequestHandler,
        facts: BatchFactsHandler,
        dlq: OnceOnlyDlqProducer,
        metrics: Metrics,
        settings: Settings,
    ) -> PollHandler:
        return PollHandler(requests, facts, dlq, metrics, group_id=settings.kafka_consumer_group_id)
