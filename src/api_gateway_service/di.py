"""Which implementation serves which port. Everything lives as long as the application."""

from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version

from dishka import AnyOf, Provider, Scope, alias, from_context, provide
from prometheus_client import CollectorRegistry

from api_gateway_service.config import AuthMode, Settings
from api_gateway_service.implementations.audit_log_impl import StreamAuditLog
from api_gateway_service.implementations.bos_client_impl import BosClient
from api_gateway_service.implementations.idempotency_impl import ProcessIdempotencyStore
from api_gateway_service.implementations.kafka_publisher_impl import KafkaPublisherImpl
from api_gateway_service.implementations.key_rings_impl import JwksKeyRing
from api_gateway_service.implementations.rate_limiter_impl import ProcessRateLimiter
from api_gateway_service.metrics import Metrics
from api_gateway_service.protocols import (
    AuditLogProtocol,
    BatchStatesProtocol,
    CommandPublisherProtocol,
)
from api_gateway_service.providers import (
    FixedUserProvider,
    JwksProvider,
    ProcessProvider,
    RedisProvider,
    SettingsKeyProvider,
    VerifierProvider,
    in_flight_seconds,
    trusted_authorities,
)
from api_gateway_service.routing import PIPELINES, STATUS
from api_gateway_service.services.batch_access import BatchAccess
from api_gateway_service.services.limits import RouteLimits, burst, minute
from api_gateway_service.services.pipeline_requests import PipelineNames, PipelineRequests
from api_gateway_service.services.status_feeds import StatusFeeds
from service_libs.container import OversightProvider
from service_libs.health_report import AboutService
from service_libs.http.origin import HttpOrigin
from service_libs.kafka.producer import GRACE_SECONDS, KafkaProbe, KafkaProducerClient
from service_libs.metrics import ServiceMetrics
from service_libs.pipeline_file.reading import read_pipelines
from service_libs.protocols import (
    BackgroundTaskProtocol,
    HealthProbeProtocol,
)

CLIENT_ID = "api-gateway-service"
MAX_BOS_CONNECTIONS = 100
MAX_BOS_ANSWER_BYTES = 4 * 1024 * 1024
LINGER_MS = 2  # a request to the broker costs more than all the rest of a click's way to it


def make_providers(settings: Settings) -> Sequence[Provider]:
    """Return the providers; those of Redis and of a key set only where the settings name one."""
    providers: list[Provider] = [
        SettingsProvider(),
        OversightProvider(),
        DownstreamProvider(),
        ServicesProvider(),
    ]
    has_redis = bool(settings.redis_url.get_secret_value())
    providers.append(RedisProvider() if has_redis else ProcessProvider())
    if settings.auth_mode is AuthMode.DISABLED:
        providers.append(FixedUserProvider())
    else:
        providers.append(VerifierProvider())
        providers.append(JwksProvider() if settings.jwt_jwks_url else SettingsKeyProvider())
    return providers


class SettingsProvider(Provider):
    """What the container is made with."""

    scope = Scope.APP

    settings = from_context(Settings)
    registry = from_context(CollectorRegistry)
    metrics = from_context(Metrics)
    service_metrics = alias(Metrics, provides=ServiceMetrics)

    @provide
    def about(
        self,
        settings: Settings,
        probes: Sequence[HealthProbeProtocol],
        tasks: Sequence[BackgroundTaskProtocol],
    ) -> AboutService:
        return AboutService(
            service="api_gateway_service",
            version=version("batch-conductor-service"),
            environment=settings.environment.value,
            dependencies=sorted({"bos", "kafka", "redis_gateway", *(one.name for one in probes)}),
            tasks=sorted({JwksKeyRing.name, *(task.name for task in tasks)}),
        )


class DownstreamProvider(Provider):
    """What others are reached with."""

    scope = Scope.APP

    kafka = provide(KafkaProbe, provides=HealthProbeProtocol)

    @provide
    def audit(self) -> AuditLogProtocol:
        return StreamAuditLog()

    @provide
    async def producer(self, settings: Settings) -> AsyncIterator[KafkaProducerClient]:
        producer = KafkaProducerClient(
            settings.kafka_bootstrap_servers,
            client_id=CLIENT_ID,
            enable_idempotence=settings.kafka_enable_idempotence,
            request_timeout_seconds=settings.kafka_send_timeout_seconds - GRACE_SECONDS,
            linger_ms=LINGER_MS,
            compression=None,
        )
        yield producer
        await producer.stop()

    @provide
    async def bos_client(
        self, settings: Settings, metrics: Metrics
    ) -> AsyncIterator[AnyOf[BosClient, BatchStatesProtocol, HealthProbeProtocol]]:
        token = settings.bos_service_token
        origin = HttpOrigin(
            settings.bos_url,
            headers={"Authorization": f"Bearer {token.get_secret_value()}"} if token else {},
            ssl=trusted_authorities(),
            max_connections=MAX_BOS_CONNECTIONS,
            max_body_bytes=MAX_BOS_ANSWER_BYTES,
        )
        bos = BosClient(origin, metrics)
        yield bos
        await bos.stop()
        await origin.close()


class ServicesProvider(Provider):
    """What callers are here for."""

    scope = Scope.APP

    requests = provide(PipelineRequests)
    access = provide(BatchAccess)
    own_limits = provide(ProcessRateLimiter)

    @provide
    def feeds(self, states: BatchStatesProtocol, metrics: Metrics) -> StatusFeeds:
        feeds = StatusFeeds(states)
        metrics.open_streams.set_function(lambda: feeds.count)
        return feeds

    @provide
    def pipelines(self, settings: Settings) -> PipelineNames:
        return read_pipelines(settings.pipeline_config_path).names

    @provide
    def publisher(
        self, settings: Settings, producer: KafkaProducerClient, metrics: Metrics
    ) -> CommandPublisherProtocol:
        seconds = settings.kafka_send_timeout_seconds
        return KafkaPublisherImpl(producer, metrics, timeout_seconds=seconds)

    @provide
    def limits(self, settings: Settings) -> RouteLimits:
        return RouteLimits(
            by_template={
                PIPELINES: (
                    burst(settings.rate_limit_pipelines_burst),
                    minute(settings.rate_limit_pipelines_per_minute),
                ),
                STATUS: (minute(settings.rate_limit_status_per_minute),),
            },
            usual=(minute(settings.rate_limit_requests),),
            auth_failures=minute(settings.rate_limit_auth_failures_per_minute, "auth-failures"),
        )

    @provide
    def own_requests(self, settings: Settings) -> ProcessIdempotencyStore:
        return ProcessIdempotencyStore(in_flight_seconds=in_flight_seconds(settings))
