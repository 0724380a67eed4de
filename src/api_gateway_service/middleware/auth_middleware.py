"""Who asks, and whether they may: a bearer token in the header, and the scope that the route needs.

A failure counts against the address that it came from. A good token is never refused for that: a
school is one address.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from api_gateway_service.exceptions import (
    ForbiddenError,
    KeysUnavailableError,
    RateLimitedError,
    UnauthenticatedError,
)
from api_gateway_service.metrics import Metrics
from api_gateway_service.middleware.context import RequestContext, context_of
from api_gateway_service.middleware.rate_limit_middleware import refuse, show_standing
from api_gateway_service.models.values import Window
from api_gateway_service.protocols import RateLimiterProtocol, TokenVerifierProtocol

MAX_TOKEN_LENGTH = 8192  # characters
SCHEME = "bearer"


class AuthMiddleware:
    """Lets through who has a right to be here; everything below `/v1` needs one."""

    def __init__(
        self,
        app: ASGIApp,
        verifier: TokenVerifierProtocol,
        limiter: RateLimiterProtocol,
        failures: Window,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._verifier = verifier
        self._limiter = limiter
        self._failures = failures
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        if context.route.is_protected:
            try:
                context.principal = await self._verifier.verify(_token(scope))
            except UnauthenticatedError as exc:
                await self._count_failure(context, exc)
                raise
            except KeysUnavailableError:
                self._metrics.auth_failures.labels(KeysUnavailableError.code).inc()
                raise
            needed = context.route.scope
            if needed is not None and not context.principal.may(needed):
                self._metrics.auth_failures.labels(ForbiddenError.code).inc()
                raise ForbiddenError(needed)
        await self._app(scope, receive, send)

    async def _count_failure(self, context: RequestContext, error: UnauthenticatedError) -> None:
        """Count it, and show how the address stands.

        Raises:
            RateLimitedError: the address has failed too often.
        """
        self._metrics.auth_failures.labels(error.reason).inc()
        context.decision = error.reason
        standing = await self._limiter.hit([self._failures], f"auth:{context.address}")
        show_standing(context, standing)
        try:
            refuse(standing)
        except RateLimitedError:
            self._metrics.rate_limited.labels(context.route.template, self._failures.name).inc()
            raise


def _token(scope: Scope) -> str | None:
    """Return the token, if there is one; one header, one scheme, and nothing in a URL.

    Raises:
        UnauthenticatedError: there is something that is no token.
    """
    given: list[bytes] = [value for name, value in scope["headers"] if name == b"authorization"]
    if not given:
        return None
    scheme, _, token = given[0].decode("latin-1").partition(" ")
    token = token.strip()
    if len(given) > 1 or scheme.lower() != SCHEME or not token or len(token) > MAX_TOKEN_LENGTH:
        raise UnauthenticatedError("malformed")
    return token
