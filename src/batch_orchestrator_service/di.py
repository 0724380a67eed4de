"""Which implementation serves which port. Everything lives as long as the application."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from functools import partial
from importlib.metadata import version

from dishka import AnyOf, Provider, Scope, alias, collect, from_context, provide
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_client import (
    BatchConductorClient,
    BatchConductorClientProtocol,
    ClientPolicy,
)
from batch_orchestrator_service.config import Settings
from batch_orchestrator_service.consuming.facts import BatchFactsHandler, deadlines
from batch_orchestrator_service.consuming.handling import PollHandler
from batch_orchestrator_service.consuming.requests import ClientBatchPipelineRequestHandler
from batch_orchestrator_service.domain.advancing import Deadline
from batch_orchestrator_service.events.decoding import consumed_topics
from batch_orchestrator_service.implementations.postgres.engine import create_engine
from batch_orchestrator_service.implementations.postgres.outbox import PostgresOutbox
from batch_orchestrator_service.implementations.postgres.retention import PostgresOldRecords
from batch_orchestrator_service.implementations.postgres.runs import PostgresRunStore
from batch_orchestrator_service.implementations.yaml_files.steps import load_steps
from batch_orchestrator_service.kafka_consumer import EventConsumer
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.operating.commands import RunCommands
from batch_orchestrator_service.operating.retention import Retention, RetentionPolicy
from batch_orchestrator_service.protocols import (
    OldRecordsProtocol,
    OutboxProtocol,
    RunStoreProtocol,
)
from batch_orchestrator_service.running.asking import Questions
from batch_orchestrator_service.running.planning import Planner
from batch_orchestrator_service.running.relay import Relay
from batch_orchestrator_service.running.resolver import Resolver, ResolverPolicy
from batch_orchestrator_service.running.watch import OverdueWatch
from batch_orchestrator_service.signals import Signals
from service_libs.clock import SystemClock
from service_libs.health import HealthMonitor
from service_libs.health_report import AboutService
from service_libs.kafka.condition import ConditionRecorder, ConsumerState
from service_libs.kafka.consumer import LoopPolicy
from service_libs.kafka.dead_letter_format import DeadLetterFormat
from service_libs.kafka.dlq_producer import KafkaDlqProducerImpl
from service_libs.kafka.producer import KafkaProbe, KafkaProducerClient
from service_libs.kafka.record_source import KafkaRecordSource
from service_libs.metrics import ServiceMetrics
from service_libs.postgres.health import PostgresProbe
from service_libs.protocols import (
    BackgroundTaskProtocol,
    ClockProtocol,
    Connect,
    DlqProducerProtocol,
    HealthProbeProtocol,
    ProgressProtocol,
)
from service_libs.supervisor import Supervisor

CLIENT_ID = "batch-orchestrator-service"
LETTERS = DeadLetterFormat(service="batch_orchestrator_service", prefix="bos_dlq-")
LEASE_FACTOR = 2.5  # BCS is asked twice at most, for the plan and for the texts
STUCK_SECONDS = 60.0  # lag without progress, or a rebalance without end
REBALANCE_FACTOR = 3  # how much longer than its session the group waits for a member


def make_providers() -> Sequence[Provider]:
    """Return the providers.

    Background tasks stop in their order: the consumer first, the relay last, for all others may add
    to what it sends.
    """
    return SettingsProvider(), InfrastructureProvider(), ConsumingProvider(), RunningProvider()


class SettingsProvider(Provider):
    """What the container is made with."""

    scope = Scope.APP

    settings = from_context(Settings)
    registry = from_context(CollectorRegistry)
    metrics = from_context(Metrics)
    service_metrics = alias(Metrics, provides=ServiceMetrics)

    @provide
    def about(self, settings: Settings) -> AboutService:
        return AboutService(
            service="batch_orchestrator_service",
            version=version("batch-conductor-service"),
            environment=settings.environment.value,
            dependencies=("postgresql", "kafka"),
            tasks=(
                EventConsumer.name,
                Resolver.name,
                Retention.name,
                OverdueWatch.name,
                Relay.name,
            ),
        )


class InfrastructureProvider(Provider):
    """What everything needs, and what watches over it."""

    scope = Scope.APP

    clock = provide(SystemClock, provides=ClockProtocol)
    tasks = collect(BackgroundTaskProtocol, provides=Sequence[BackgroundTaskProtocol])
    progress = collect(ProgressProtocol, provides=Sequence[ProgressProtocol])
    probes = collect(HealthProbeProtocol, provides=Sequence[HealthProbeProtocol])
    postgres = provide(PostgresProbe, provides=HealthProbeProtocol)
    kafka = provide(KafkaProbe, provides=HealthProbeProtocol)
    outbox = provide(PostgresOutbox, provides=OutboxProtocol)
    old_records = provide(PostgresOldRecords, provides=OldRecordsProtocol)
    commands = provide(RunCommands)

    @provide
    def signals(self) -> Signals:
        return Signals()

    @provide
    def store(
        self, engine: AsyncEngine, clock: ClockProtocol, signals: Signals
    ) -> RunStoreProtocol:
        return PostgresRunStore(engine, clock, signals)

    @provide
    async def engine(self, settings: Settings) -> AsyncIterator[AsyncEngine]:
        engine = create_engine(settings)
        yield engine
        await engine.dispose()

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

    @provide
    def supervisor(self, tasks: Sequence[BackgroundTaskProtocol], metrics: Metrics) -> Supervisor:
        return Supervisor(tasks, metrics)

    @provide
    def monitor(
        self,
        probes: Sequence[HealthProbeProtocol],
        supervisor: Supervisor,
        metrics: Metrics,
        progress: Sequence[ProgressProtocol],
    ) -> HealthMonitor:
        return HealthMonitor(probes, supervisor, metrics, progress=progress)


class ConsumingProvider(Provider):
    """Events in."""

    scope = Scope.APP

    requests = provide(ClientBatchPipelineRequestHandler)
    facts = provide(BatchFactsHandler)
    consumer = provide(EventConsumer, provides=AnyOf[EventConsumer, BackgroundTaskProtocol])

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
            session_timeout_seconds=settings.kafka_session_timeout_seconds,
            request_timeout_seconds=settings.kafka_request_timeout_seconds,
            rebalance_timeout_seconds=rebalance_seconds,
            stuck_timeout_seconds=max(STUCK_SECONDS, 2 * rebalance_seconds),
        )

    @provide
    def connect(self, policy: LoopPolicy, clock: ClockProtocol) -> Connect:
        return lambda on_revoked: KafkaRecordSource(policy, consumed_topics(), on_revoked, clock)

    @provide
    def condition(self, clock: ClockProtocol, metrics: Metrics) -> ConditionRecorder:
        return ConditionRecorder(clock, partial(_show_state, metrics))

    @provide
    def handler(
        self,
        requests: ClientBatchPipelineRequestHandler,
        facts: BatchFactsHandler,
        dlq: DlqProducerProtocol,
        metrics: Metrics,
        settings: Settings,
    ) -> PollHandler:
        return PollHandler(requests, facts, dlq, metrics, group_id=settings.kafka_consumer_group_id)


class RunningProvider(Provider):
    """What has runs go on: planning, sending, the look at what is overdue and at what is old."""

    scope = Scope.APP

    resolver = provide(Resolver, provides=AnyOf[Resolver, BackgroundTaskProtocol])
    retention = provide(Retention, provides=BackgroundTaskProtocol)
    watch = provide(OverdueWatch, provides=BackgroundTaskProtocol)
    relay = provide(Relay, provides=AnyOf[Relay, BackgroundTaskProtocol])

    @provide
    def planner(self, settings: Settings) -> Planner:
        return Planner(load_steps(settings.pipeline_config_path))

    @provide
    def questions(
        self,
        bcs: BatchConductorClientProtocol,
        planner: Planner,
        metrics: Metrics,
        settings: Settings,
    ) -> Questions:
        return Questions(bcs, planner, metrics, settings.bcs_timeout)

    @provide
    def retention_policy(self, settings: Settings) -> RetentionPolicy:
        return RetentionPolicy(days=settings.retention_days)

    @provide
    def policy(self, settings: Settings, deadline: Deadline) -> ResolverPolicy:
        return ResolverPolicy(
            lease=timedelta(seconds=LEASE_FACTOR * settings.bcs_timeout),
            deadline=deadline,
            max_resolutions=settings.max_resolutions,
        )

    @provide
    async def client(
        self, settings: Settings, metrics: Metrics
    ) -> AsyncIterator[BatchConductorClientProtocol]:
        policy = ClientPolicy(base_url=settings.bcs_base_url, token=settings.bcs_service_token)
        show = metrics.circuit_breaker_state.labels("bcs").set
        client = BatchConductorClient(policy, show_breaker=show)
        yield client
        await client.close()


def _show_state(metrics: Metrics, current: ConsumerState) -> None:
    for state in ConsumerState:
        metrics.consumer_state.labels(state=state.value).set(state is current)
