"""How often each user may use each route, and what every answer says about that."""

import math
from hashlib import sha256

from starlette.types import ASGIApp, Receive, Scope, Send

from api_gateway_service.exceptions import RateLimitedError
from api_gateway_service.metrics import Metrics
from api_gateway_service.middleware.context import RequestContext, context_of
from api_gateway_service.models.values import Standing
from api_gateway_service.protocols import RateLimiterProtocol
from api_gateway_service.services.limits import RouteLimits


class RateLimitMiddleware:
    """Counts each request of a user against the windows of its route.

    Args:
        app: what answers.
        limiter: counts.
        limits: the windows of each route.
        metrics: counts what is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        limiter: RateLimiterProtocol,
        limits: RouteLimits,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._limiter = limiter
        self._limits = limits
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        if context.principal is not None:
            template = context.route.template
            windows = self._limits.of(template)
            key = f"{template}:{_name(context.principal.user_id)}"
            standing = await self._limiter.hit(windows, key)
            show_standing(context, standing)
            if standing.refused_by is not None:
                policy = standing.refused_by.window.name
                self._metrics.rate_limited.labels(template, policy).inc()
            refuse(standing)
        await self._app(scope, receive, send)


def show_standing(context: RequestContext, standing: Standing) -> None:
    """Have the answer say how the caller stands (draft-ietf-httpapi-ratelimit-headers-10)."""
    policies = ", ".join(
        f'"{one.window.name}";q={one.window.amount};w={one.window.seconds}'
        for one in standing.states
    )
    limits = ", ".join(
        f'"{one.window.name}";r={one.remaining};t={math.ceil(one.reset_seconds)}'
        for one in standing.states
    )
    context.headers.append((b"ratelimit-policy", policies.encode()))
    context.headers.append((b"ratelimit", limits.encode()))


def refuse(standing: Standing) -> None:
    """Return where no window was full.

    Raises:
        RateLimitedError: one was.
    """
    if standing.refused_by is not None:
        raise RateLimitedError(max(1, math.ceil(standing.refused_by.reset_seconds)))


def _name(user_id: str) -> str:
    """Return the user as part of a key: whatever characters an identity has, these are safe."""
    return sha256(user_id.encode()).hexdigest()[:32]
