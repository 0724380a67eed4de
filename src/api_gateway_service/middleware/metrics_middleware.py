"""Counts and times every request by its route; a stream's time is that until it begins."""

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway_service.metrics import Metrics
from api_gateway_service.middleware.context import context_of

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class MetricsMiddleware:
    """Measures up to the beginning of each answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        endpoint = context.route.template

        async def send_measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                duration = perf_counter() - context.started
                self._metrics.http_requests.labels(method, endpoint, str(message["status"])).inc()
                self._metrics.http_duration.labels(method, endpoint).observe(duration)
            await send(message)

        await self._app(scope, receive, send_measured)
