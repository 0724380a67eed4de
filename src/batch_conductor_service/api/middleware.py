"""What happens around every request: correlation, deadline, token, metrics, one log line."""

import hmac
from time import perf_counter

import structlog
from quart import Quart, Response, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from batch_conductor_service.api.correlation import (
    CORRELATION_HEADER,
    begin_correlation,
    correlation_header,
)
from batch_conductor_service.api.limits import begin_deadline
from batch_conductor_service.config import Settings
from batch_conductor_service.health import HealthMonitor
from batch_conductor_service.metrics import Metrics

logger = structlog.get_logger(__name__)

PROTECTED_PREFIX = "/internal/"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def register_middleware(app: Quart, settings: Settings) -> None:
    """Do before and after every request what concerns all of them."""
    token = settings.service_token
    expected = f"Bearer {token.get_secret_value()}".encode() if token else None

    @app.before_request
    async def begin() -> None:
        g.started = perf_counter()
        begin_correlation()
        begin_deadline(settings.http_timeout)
        if expected is not None and request.path.startswith(PROTECTED_PREFIX):
            _check_token(expected)

    @app.after_request
    async def end(response: Response) -> Response:
        response.headers[CORRELATION_HEADER] = correlation_header()
        container = g.dishka_container
        if (await container.get(HealthMonitor)).is_shutting_down:
            # The connection ends with this answer, so that no later request meets a closed door.
            response.headers["Connection"] = "close"
        _measure(await container.get(Metrics), response)
        return response


def _check_token(expected: bytes) -> None:
    given = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(given, expected):
        raise Unauthorized(www_authenticate=WWWAuthenticate("bearer"))


def _measure(metrics: Metrics, response: Response) -> None:
    endpoint = request.url_rule.rule if request.url_rule else "unmatched"
    method = request.method if request.method in METHODS else "OTHER"
    duration = perf_counter() - g.started
    metrics.http_requests.labels(
        method=method, endpoint=endpoint, status_code=str(response.status_code)
    ).inc()
    metrics.http_duration.labels(method=method, endpoint=endpoint).observe(duration)
    log = logger.info if endpoint.startswith(PROTECTED_PREFIX) else logger.debug
    log(
        "request_answered",
        method=method,
        endpoint=endpoint,
        status=response.status_code,
        duration_seconds=round(duration, 6),
    )
