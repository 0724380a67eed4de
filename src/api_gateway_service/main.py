"""The application: the routes, and the layers around them."""

from collections.abc import Sequence

from dishka import AsyncContainer
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api_gateway_service.config import Settings
from api_gateway_service.metrics import Metrics
from api_gateway_service.middleware.audit_middleware import AuditMiddleware
from api_gateway_service.middleware.auth_middleware import AuthMiddleware
from api_gateway_service.middleware.body_limit_middleware import BodyLimitMiddleware
from api_gateway_service.middleware.context import context_of
from api_gateway_service.middleware.correlation_middleware import CorrelationMiddleware
from api_gateway_service.middleware.cors_middleware import allow_origins
from api_gateway_service.middleware.fault_middleware import FaultMiddleware
from api_gateway_service.middleware.metrics_middleware import MetricsMiddleware
from api_gateway_service.middleware.rate_limit_middleware import RateLimitMiddleware
from api_gateway_service.models.errors import answer_error, code_of
from api_gateway_service.openapi import Document, describe
from api_gateway_service.protocols import (
    AuditLogProtocol,
    RateLimiterProtocol,
    TokenVerifierProtocol,
)
from api_gateway_service.routers import demo_routes, docs_routes, health_routes, pipeline_routes
from api_gateway_service.routers.direct_routes import DirectRoutes
from api_gateway_service.services.batch_access import BatchAccess
from api_gateway_service.services.limits import RouteLimits
from api_gateway_service.services.pipeline_requests import PipelineRequests
from service_libs.exceptions import ServiceError
from service_libs.health import HealthMonitor
from service_libs.settings import Environment


class Routes(FastAPI):
    """The routes, which describe themselves by a document of our own."""

    def openapi(self) -> Document:
        return describe(self)


def make_routes() -> FastAPI:
    """Return the routes, with nothing around them and nothing behind them."""
    # A redirect to the address without the last slash would lead wherever Host says.
    app = Routes(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    for module in (pipeline_routes, health_routes, docs_routes):
        app.include_router(module.router)
    for kind in (ServiceError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer)
    return app


async def create_app(settings: Settings, container: AsyncContainer) -> ASGIApp:
    """Return the application; it opens nothing before it is asked something.

    The framework's own middleware would stand inside of its last handler, whose answers would lack
    all that these layers add. The last one here is the outermost.
    """
    routes = make_routes()
    if settings.environment is Environment.DEVELOPMENT:
        routes.include_router(demo_routes.router)
    metrics = await container.get(Metrics)
    limiter = await container.get(RateLimiterProtocol)
    limits = await container.get(RouteLimits)
    verifier = await container.get(TokenVerifierProtocol)
    requests, access = await container.get(PipelineRequests), await container.get(BatchAccess)
    app: ASGIApp = DirectRoutes(provided(routes, container), requests, access)
    app = RateLimitMiddleware(app, limiter, limits, metrics)
    app = AuthMiddleware(app, verifier, limiter, limits.auth_failures, metrics)
    app = FaultMiddleware(app)
    app = BodyLimitMiddleware(app)
    app = AuditMiddleware(app, await container.get(AuditLogProtocol))
    app = MetricsMiddleware(app, metrics)
    monitor = await container.get(HealthMonitor)
    app = believe_proxies(CorrelationMiddleware(app, monitor), settings.trusted_proxies)
    return allow_origins(app, settings.cors_origins)


def provided(app: ASGIApp, container: AsyncContainer) -> ASGIApp:
    """Return the application, whose routes find what they need in the container.

    dishka's own middleware would open a scope for each request; nothing here lives in one.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["dishka_container"] = container
        await app(scope, receive, send)

    return call


def believe_proxies(app: ASGIApp, trusted: Sequence[str]) -> ASGIApp:
    """Return the application, which takes the caller's address from these proxies."""
    return ProxyHeadersMiddleware(app, list(trusted))  # type: ignore[arg-type, return-value] # uvicorn's own types of ASGI


async def _answer(request: Request, error: Exception) -> Response:
    context = context_of(request.scope)
    context.decision = context.decision or code_of(error)
    return answer_error(error, str(context.correlation_id))
