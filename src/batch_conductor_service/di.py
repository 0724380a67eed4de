"""Which implementation serves which port. Everything lives as long as the application."""

from collections.abc import Sequence
from importlib.metadata import version

from dishka import AnyOf, Provider, Scope, alias, from_context, provide
from prometheus_client import CollectorRegistry

from batch_conductor_service.api.pipelines import QuestionHandler
from batch_conductor_service.config import Settings
from batch_conductor_service.domain.pipelines import PipelineCatalog, StepDependencies
from batch_conductor_service.implementations.yaml_files.pipelines import DefaultPipelineGenerator
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.protocols import (
    PipelineGeneratorProtocol,
    ResolutionAnnouncerProtocol,
    SkipEventPublisherProtocol,
)
from batch_conductor_service.providers.kafka import (
    ConsumingProvider,
    KafkaProvider,
    ListeningProvider,
    NoKafkaProvider,
)
from batch_conductor_service.providers.metric_labels import show_pipelines
from batch_conductor_service.providers.operating import (
    PostgresAuditProvider,
    RedisAuditProvider,
)
from batch_conductor_service.providers.stores import (
    MemoryProvider,
    NoPostgresProvider,
    PostgresProvider,
    RedisProvider,
)
from batch_conductor_service.resolving.announcing import ResolutionAnnouncer
from batch_conductor_service.resolving.pipeline_resolution import (
    DefaultPipelineResolutionService,
    DefaultPipelineRules,
)
from service_libs.breakers import CircuitBreakers
from service_libs.container import OversightProvider
from service_libs.health_report import AboutService
from service_libs.http.intake import BodyReader, RequestGate
from service_libs.kafka.providers import GroupProvider, SendingProvider
from service_libs.metrics import ConsumingMetrics, ServiceMetrics
from service_libs.protocols import (
    BackgroundTaskProtocol,
    ClockProtocol,
    DlqProducerProtocol,
)
from service_libs.settings import Environment


def make_providers(settings: Settings) -> Sequence[Provider]:
    """Return the providers for these settings: all of the choice between implementations.

    Background tasks stop in the order of their providers: the consumer first, for it waits until
    the worker has persisted what it consumed.
    """
    common = (
        SettingsProvider(),
        OversightProvider(),
        BreakersProvider(),
        ServiceProvider(),
        ApiProvider(),
    )
    in_redis = (RedisProvider(), RedisAuditProvider())
    kafka = (
        KafkaProvider(),
        SendingProvider(),
        ConsumingProvider(),
        ListeningProvider(),
        GroupProvider(),
    )
    match settings.uses_memory, settings.environment, settings.postgres_enabled:
        case True, Environment.TESTING, _:
            chosen: tuple[Provider, ...] = (MemoryProvider(), NoKafkaProvider())
        case True, _, _:
            chosen = (MemoryProvider(), *kafka)
        case False, _, False:
            chosen = (*in_redis, NoPostgresProvider(), *kafka)
        case _:
            chosen = (*in_redis, *kafka, PostgresProvider(), PostgresAuditProvider())
    return *common, *chosen, AnnouncingProvider()


class SettingsProvider(Provider):
    """What the container is made with."""

    scope = Scope.APP

    settings = from_context(Settings)
    registry = from_context(CollectorRegistry)
    metrics = from_context(Metrics)
    service_metrics = alias(Metrics, provides=AnyOf[ServiceMetrics, ConsumingMetrics])


class BreakersProvider(Provider):
    """What leaves a store alone that does not answer."""

    scope = Scope.APP

    @provide
    def breakers(self, metrics: Metrics, settings: Settings) -> CircuitBreakers:
        timeouts = {
            "redis": settings.redis_timeout_seconds,
            "postgresql": settings.database_timeout_seconds,
        }
        return CircuitBreakers(metrics, timeouts)


class ServiceProvider(Provider):
    """The use cases."""

    scope = Scope.APP

    rules = provide(DefaultPipelineRules)
    service = provide(DefaultPipelineResolutionService)

    @provide
    def generator(self, settings: Settings, metrics: Metrics) -> PipelineGeneratorProtocol:
        return DefaultPipelineGenerator(settings.pipeline_config_path, metrics)

    @provide
    def catalog(self, generator: PipelineGeneratorProtocol, metrics: Metrics) -> PipelineCatalog:
        catalog = generator.load()
        show_pipelines(metrics, catalog)
        return catalog

    @provide
    def dependencies(self, catalog: PipelineCatalog) -> StepDependencies:
        return catalog.dependencies


class ApiProvider(Provider):
    """What the routes call."""

    scope = Scope.APP

    handler = provide(QuestionHandler)
    bodies = provide(BodyReader)

    @provide
    def about(self, settings: Settings) -> AboutService:
        return AboutService(
            service="batch_conductor_service",
            version=version("batch-conductor-service"),
            environment=settings.environment.value,
            dependencies=("redis", "postgresql", "kafka"),
            tasks=("consumer", "persistence_worker"),
        )

    @provide
    def gate(self, settings: Settings) -> RequestGate:
        return RequestGate(settings.max_concurrent_requests)


class AnnouncingProvider(Provider):
    """What others hear of a resolution; the last task to stop, for all others may add to it."""

    scope = Scope.APP

    @provide(
        provides=AnyOf[ResolutionAnnouncer, ResolutionAnnouncerProtocol, BackgroundTaskProtocol]
    )
    def announcer(
        self,
        skips: SkipEventPublisherProtocol,
        dlq: DlqProducerProtocol,
        metrics: Metrics,
        clock: ClockProtocol,
    ) -> ResolutionAnnouncer:
        announcer = ResolutionAnnouncer(skips, dlq, metrics, clock)
        metrics.skip_events_waiting.set_function(lambda: announcer.waiting_skips)
        metrics.oldest_skip_event_age.set_function(lambda: announcer.oldest_skip_age_seconds)
        return announcer
