"""Which implementation serves which port. Everything lives as long as the application."""

from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version

from dishka import AnyOf, Provider, Scope, alias, from_context, provide
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_orchestrator_service.config import Settings
from batch_orchestrator_service.implementations.postgres.outbox import PostgresOutbox
from batch_orchestrator_service.implementations.postgres.replays import PostgresReplayRequests
from batch_orchestrator_service.implementations.postgres.retention import PostgresOldRecords
from batch_orchestrator_service.implementations.postgres.runs import PostgresRunStore
from batch_orchestrator_service.implementations.postgres.tables import DATABASE
from batch_orchestrator_service.kafka_consumer import EventConsumer
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.operating.commands import RunCommands
from batch_orchestrator_service.operating.progress import OutboxProgress
from batch_orchestrator_service.operating.retention import Retention
from batch_orchestrator_service.protocols import (
    OldRecordsProtocol,
    OutboxProtocol,
    RunStoreProtocol,
)
from batch_orchestrator_service.providers.consuming import ConsumingProvider
from batch_orchestrator_service.providers.running import RunningProvider
from batch_orchestrator_service.running.relay import Relay
from batch_orchestrator_service.running.resolver import Resolver
from batch_orchestrator_service.running.watch import OverdueWatch
from batch_orchestrator_service.signals import Signals
from service_libs.container import OversightProvider
from service_libs.health_report import AboutService
from service_libs.kafka.broker_watch import BrokerWatch
from service_libs.kafka.providers import GroupProvider, SendingProvider
from service_libs.metrics import ConsumingMetrics, ServiceMetrics
from service_libs.postgres.health import PostgresProbe
from service_libs.protocols import (
    ClockProtocol,
    HealthProbeProtocol,
    ProgressProtocol,
    ReplayRequestsProtocol,
)


def make_providers() -> Sequence[Provider]:
    """Return the providers.

    Background tasks stop in their order: the consumer first, the relay last, for all others may add
    to what it sends.
    """
    return (
        SettingsProvider(),
        OversightProvider(),
        PostgresProvider(),
        SendingProvider(),
        ConsumingProvider(),
        GroupProvider(),
        RunningProvider(),
    )


class SettingsProvider(Provider):
    """What the container is made with."""

    scope = Scope.APP

    settings = from_context(Settings)
    registry = from_context(CollectorRegistry)
    metrics = from_context(Metrics)
    service_metrics = alias(Metrics, provides=AnyOf[ServiceMetrics, ConsumingMetrics])

    @provide
    def about(self, settings: Settings) -> AboutService:
        return AboutService(
            service="batch_orchestrator_service",
            version=version("batch-conductor-service"),
            environment=settings.environment.value,
            dependencies=("postgresql", "kafka"),
            tasks=(
                EventConsumer.name,
                BrokerWatch.name,
                Resolver.name,
                Retention.name,
                OverdueWatch.name,
                Relay.name,
            ),
        )


class PostgresProvider(Provider):
    """What is kept, and what waits to be sent."""

    scope = Scope.APP

    postgres = provide(PostgresProbe, provides=HealthProbeProtocol)
    outbox = provide(PostgresOutbox, provides=OutboxProtocol)
    outbox_progress = provide(OutboxProgress, provides=ProgressProtocol)
    old_records = provide(PostgresOldRecords, provides=OldRecordsProtocol)
    commands = provide(RunCommands)
    replays = provide(
        PostgresReplayRequests,
        provides=AnyOf[ReplayRequestsProtocol, ReplayRequestsProtocol | None],
    )

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
        engine = DATABASE.engine(settings)
        yield engine
        await engine.dispose()
