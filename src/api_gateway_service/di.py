"""Which implementation serves which port. Everything lives as long as the application."""

from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version

import httpx
from dishka import AnyOf, Provider, Scope, alias, collect, from_context, provide
from prometheus_client import CollectorRegistry

from api_gateway_service.config import AuthMode, Settings
from api_gateway_service.implementations.audit_log_impl import StreamAuditLog
from api_gateway_service.implementations.bos_client_impl import BosClient, BosProbe
from api_gateway_service.implementations.idempotency_impl import (
    FallbackIdempotencyStore,
    ProcessIdempotencyStore,
    RedisIdempotencyStore,
)
from api_gateway_service.implementations.kafka_publisher_impl import KafkaPublisherImpl
from api_gateway_service.implementations.key_rings_impl import (
    JwksKeyRing,
    KeyRing,
    SettingsKeyRing,
    public_key,
    secret_key,
)
from api_gateway_service.implementations.pipeline_names_impl import load_pipeline_names
from api_gateway_service.implementations.rate_limiter_impl import (
    FallbackRateLimiter,
    ProcessRateLimiter,
    RedisRateLimiter,
)
from api_gateway_service.implementations.redis_connection_impl import (
    GatewayRedis,
    GatewayRedisProbe,
)
from api_gateway_service.implementations.token_verifier_impl import (
    FixedUserVerifier,
    JoseTokenVerifier,
)
from api_gateway_service.metrics import Metrics
from api_gateway_service.models.values import Principal
from api_gateway_service.protocols import (
    AuditLogProtocol,
    BatchStatesProtocol,
    CommandPublisherProtocol,
    IdempotencyStoreProtocol,
    RateLimiterProtocol,
    TokenVerifierProtocol,
)
from api_gateway_service.routing import PIPELINES, STATUS, ScopeName
from api_gateway_service.services.batch_access import BatchAccess
from api_gateway_service.services.limits import RouteLimits, burst, minute
from api_gateway_service.services.pipeline_requests import PipelineNames, PipelineRequests
from api_gateway_service.services.status_feeds import StatusFeeds
from service_libs.clock import SystemClock
from service_libs.health import HealthMonitor
from service_libs.health_report import AboutService
from service_libs.kafka.producer import GRACE_SECONDS, KafkaProbe, KafkaProducerClient
from service_libs.metrics import ServiceMetrics
from service_libs.protocols import (
    BackgroundTaskProtocol,
    ClockProtocol,
    HealthProbeProtocol,
)
from service_libs.supervisor import Supervisor

CLIENT_ID = "api-gateway-service"
DEVELOPER = "developer"  # who asks where nobody has to say who he is
IN_FLIGHT_MARGIN_SECONDS = 1  # beyond a send's own time
MAX_BOS_CONNECTIONS = 100


def make_providers(settings: Settings) -> Sequence[Provider]:
    """Return the providers; those of Redis and of a key set only where the settings name one."""
    providers: list[Provider] = [SettingsProvider(), OperatingProvider(), ServicesProvider()]
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


class OperatingProvider(Provider):
    """What watches over everything, and what others are reached with."""

    scope = Scope.APP

    clock = provide(SystemClock, provides=ClockProtocol)
    tasks = collect(BackgroundTaskProtocol, provides=Sequence[BackgroundTaskProtocol])
    probes = collect(HealthProbeProtocol, provides=Sequence[HealthProbeProtocol])
    kafka = provide(KafkaProbe, provides=HealthProbeProtocol)
    bos = provide(BosProbe, provides=HealthProbeProtocol)

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
        )
        yield producer
        await producer.stop()

    @provide
    async def bos_client(
        self, settings: Settings, metrics: Metrics
    ) -> AsyncIterator[AnyOf[BosClient, BatchStatesProtocol]]:
        token = settings.bos_service_token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        limits = httpx.Limits(max_connections=MAX_BOS_CONNECTIONS)
        async with httpx.AsyncClient(
            base_url=settings.bos_url, headers=headers, limits=limits, trust_env=False
        ) as http:
            yield BosClient(http, metrics)

    @provide
    def supervisor(self, tasks: Sequence[BackgroundTaskProtocol], metrics: Metrics) -> Supervisor:
        return Supervisor(tasks, metrics)

    @provide
    def monitor(
        self,
        probes: Sequence[HealthProbeProtocol],
        supervisor: Supervisor,
        metrics: Metrics,
    ) -> HealthMonitor:
        return HealthMonitor(probes, supervisor, metrics)


class ServicesProvider(Provider):
    """What callers are here for."""

    scope = Scope.APP

    requests = provide(PipelineRequests)

    @provide
    def access(self, states: BatchStatesProtocol) -> BatchAccess:
        return BatchAccess(states)

    @provide
    def feeds(self, states: BatchStatesProtocol, metrics: Metrics) -> StatusFeeds:
        feeds = StatusFeeds(states)
        metrics.open_streams.set_function(lambda: feeds.count)
        return feeds

    @provide
    def pipelines(self, settings: Settings) -> PipelineNames:
        return load_pipeline_names(settings.pipeline_config_path)

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
        return ProcessIdempotencyStore(in_flight_seconds=_in_flight_seconds(settings))

    @provide
    def own_limits(self) -> ProcessRateLimiter:
        return ProcessRateLimiter()


class RedisProvider(Provider):
    """Limits and keys for all replicas, and for this process while Redis is away."""

    scope = Scope.APP

    probe = provide(GatewayRedisProbe, provides=HealthProbeProtocol)

    @provide
    async def redis(self, settings: Settings, metrics: Metrics) -> AsyncIterator[GatewayRedis]:
        redis = GatewayRedis(settings.redis_url.get_secret_value(), metrics.limiter_fallback)
        yield redis
        await redis.close()

    @provide
    def limiter(self, redis: GatewayRedis, own: ProcessRateLimiter) -> RateLimiterProtocol:
        return FallbackRateLimiter(RedisRateLimiter(redis), own)

    @provide
    def requests(
        self, settings: Settings, redis: GatewayRedis, own: ProcessIdempotencyStore
    ) -> IdempotencyStoreProtocol:
        shared = RedisIdempotencyStore(redis, in_flight_seconds=_in_flight_seconds(settings))
        return FallbackIdempotencyStore(shared, own)


class ProcessProvider(Provider):
    """Limits and keys for this process alone."""

    scope = Scope.APP

    requests = alias(ProcessIdempotencyStore, provides=IdempotencyStoreProtocol)

    @provide
    def limiter(self, own: ProcessRateLimiter, metrics: Metrics) -> RateLimiterProtocol:
        metrics.limiter_fallback.set(1)
        return own


class VerifierProvider(Provider):
    """Tokens that are checked."""

    scope = Scope.APP

    @provide
    def verifier(self, settings: Settings, keys: KeyRing) -> TokenVerifierProtocol:
        return JoseTokenVerifier(
            keys,
            algorithms=settings.jwt_algorithms,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        )


class JwksProvider(Provider):
    """Keys from a URL."""

    scope = Scope.APP

    @provide
    async def ring(
        self, settings: Settings
    ) -> AsyncIterator[AnyOf[JwksKeyRing, KeyRing, BackgroundTaskProtocol]]:
        async with httpx.AsyncClient(trust_env=False) as http:
            yield JwksKeyRing(http, settings.jwt_jwks_url)


class SettingsKeyProvider(Provider):
    """The one key of the settings."""

    scope = Scope.APP

    @provide
    def ring(self, settings: Settings) -> KeyRing:
        if settings.jwt_secret is not None:
            return SettingsKeyRing(secret_key(settings.jwt_secret))
        if settings.jwt_public_key_file is None:
            raise ValueError("the settings have let through that there is no key")
        return SettingsKeyRing(public_key(settings.jwt_public_key_file))


class FixedUserProvider(Provider):
    """One user, in development."""

    scope = Scope.APP

    @provide
    def verifier(self) -> TokenVerifierProtocol:
        return FixedUserVerifier(Principal(user_id=DEVELOPER, scopes=frozenset(ScopeName)))


def _in_flight_seconds(settings: Settings) -> float:
    return settings.kafka_send_timeout_seconds + IN_FLIGHT_MARGIN_SECONDS
