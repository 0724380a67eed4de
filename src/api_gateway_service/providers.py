"""The providers of what settings choose between: where limits are kept, and who says who asks."""

from collections.abc import AsyncIterator
from functools import cache
from ssl import SSLContext

import httpx
from dishka import AnyOf, Provider, Scope, alias, provide

from api_gateway_service.config import Settings
from api_gateway_service.implementations.idempotency_impl import (
    ProcessIdempotencyStore,
    RedisIdempotencyStore,
)
from api_gateway_service.implementations.key_rings_impl import (
    JwksKeyRing,
    KeyRing,
    SettingsKeyRing,
    public_key,
    secret_key,
)
from api_gateway_service.implementations.rate_limiter_impl import (
    ProcessRateLimiter,
    RedisRateLimiter,
)
from api_gateway_service.implementations.redis_connection_impl import GatewayRedis
from api_gateway_service.implementations.token_verifier_impl import (
    FixedUserVerifier,
    JoseTokenVerifier,
)
from api_gateway_service.metrics import Metrics
from api_gateway_service.models.values import Principal
from api_gateway_service.protocols import (
    IdempotencyStoreProtocol,
    RateLimiterProtocol,
    TokenVerifierProtocol,
)
from api_gateway_service.routing import ScopeName
from service_libs.protocols import BackgroundTaskProtocol, HealthProbeProtocol

DEVELOPER = "developer"  # who asks where nobody has to say who he is
IN_FLIGHT_MARGIN_SECONDS = 1  # beyond a send's own time


class RedisProvider(Provider):
    """Limits and keys for all replicas, and for this process while Redis is away."""

    scope = Scope.APP

    @provide
    async def redis(
        self, settings: Settings, metrics: Metrics
    ) -> AsyncIterator[AnyOf[GatewayRedis, HealthProbeProtocol]]:
        redis = GatewayRedis(settings.redis_url.get_secret_value(), metrics.limiter_fallback)
        yield redis
        await redis.close()

    limiter = provide(RedisRateLimiter, provides=RateLimiterProtocol)

    @provide
    def requests(
        self, settings: Settings, redis: GatewayRedis, own: ProcessIdempotencyStore
    ) -> IdempotencyStoreProtocol:
        return RedisIdempotencyStore(redis, own, in_flight_seconds=in_flight_seconds(settings))


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
        async with httpx.AsyncClient(verify=trusted_authorities(), trust_env=False) as http:
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


@cache
def trusted_authorities() -> SSLContext:
    """Return whom clients trust; to read them takes longer than to make all the rest."""
    return httpx.create_ssl_context(trust_env=False)


def in_flight_seconds(settings: Settings) -> float:
    """Return how long a request that is being sent keeps others with its key out."""
    return settings.kafka_send_timeout_seconds + IN_FLIGHT_MARGIN_SECONDS
