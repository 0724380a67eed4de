"""Counts and times every request by its route; a stream's time is that until it begins."""

from functools import cache
from time import perf_counter

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway_service.metrics import Metrics
from api_gateway_service.middleware.context import context_of

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class MetricsMiddleware:
    """Measures up to the beginning of each answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._series_of = cache(self._find_series)  # as many as there are series

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        endpoint = context.route.template

        async def send_measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                requests, duration = self._series_of(method, endpoint, message["status"])
                requests.inc()
                duration.observe(perf_counter() - context.started)
            await send(message)

        await self._app(scope, receive, send_measured)

    def _find_series(self, method: str, endpoint: str, status: int) -> tuple[Counter, Histogram]:
        requests = self._metrics.http_requests.labels(method, endpoint, str(status))
        return requests, self._metrics.http_duration.labels(method, endpoint)
