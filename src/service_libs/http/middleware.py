"""What happens around every request: correlation, deadline, token, metrics, one log line.

The correlation id is taken from the caller, bound to every log line, and given back.
"""

import hmac
from time import perf_counter
from uuid import uuid4

import structlog
from pydantic import SecretStr
from quart import Quart, Response, current_app, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, MethodNotAllowed, Unauthorized

from common_core.identifiers import MAX_CORRELATION_LENGTH
from service_libs.health import HealthMonitor
from service_libs.http.limits import begin_deadline
from service_libs.metrics import ServiceMetrics

logger = structlog.get_logger(__name__)

CORRELATION_HEADER = "X-Correlation-ID"
PROTECTED_PREFIX = "/internal/"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def register_middleware(
    app: Quart, *, token: SecretStr | None, callers_patience_seconds: float
) -> None:
    """Do before and after every request what concerns all of them."""
    expected = token.get_secret_value().encode() if token else None

    @app.before_request
    async def begin() -> None:
        g.started = perf_counter()
        _begin_correlation()
        begin_deadline(callers_patience_seconds)
        _check_framing()
        if expected is not None and request.path.startswith(PROTECTED_PREFIX):
            _check_token(expected)

    @app.after_request
    async def end(response: Response) -> Response:
        if carried := _correlation_header():
            response.headers[CORRELATION_HEADER] = carried
        container = g.dishka_container
        if (await container.get(HealthMonitor)).is_shutting_down or _is_framed_twice():
            # The connection ends with this answer, so that no later request meets a closed door.
            response.headers["Connection"] = "close"
        _measure(await container.get(ServiceMetrics), response)
        return response


def adopt_correlation(correlation_id: str) -> None:
    """Use this id from here on: the body's goes before the header's."""
    g.correlation_id = correlation_id
    structlog.contextvars.bind_contextvars(correlation_id=correlation_id)


def correlation_id() -> str:
    """Return the id of the current request, as it is."""
    return str(g.get("correlation_id", ""))


def _begin_correlation() -> None:
    """Take the id from the header, or make one: an altered id would lead nowhere."""
    structlog.contextvars.clear_contextvars()
    given = request.headers.get(CORRELATION_HEADER, "")
    adopt_correlation(given if _fits_header(given) else str(uuid4()))


def _correlation_header() -> str | None:
    """Return the id, if a header can carry it as it is."""
    carried = correlation_id()
    return carried if _fits_header(carried) else None


def _fits_header(text: str) -> bool:
    """Whether the text arrives unaltered in a header, and is bounded."""
    is_printable = text.isascii() and text.isprintable() and text == text.strip()
    return is_printable and 0 < len(text) <= MAX_CORRELATION_LENGTH


def _check_framing() -> None:
    """Refuse a request of which another reader may see another end: it may hide a second one."""
    if _is_framed_twice():
        raise BadRequest


def _is_framed_twice() -> bool:
    return "Content-Length" in request.headers and "Transfer-Encoding" in request.headers


def _check_token(expected: bytes) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    is_right = hmac.compare_digest(given.strip().encode(), expected)
    if scheme.lower() != "bearer" or not is_right:
        raise Unauthorized(www_authenticate=WWWAuthenticate("bearer"))


def _measure(metrics: ServiceMetrics, response: Response) -> None:
    endpoint = _route_pattern()
    method = request.method if request.method in METHODS else "OTHER"
    duration = perf_counter() - g.started
    metrics.http_requests.labels(
        method=method, endpoint=endpoint, status_code=str(response.status_code)
    ).inc()
    metrics.http_duration.labels(method=method, endpoint=endpoint).observe(duration)
    # Of those that are refused for load there may be thousands; the counter says how many.
    is_logged = endpoint.startswith(PROTECTED_PREFIX) and not g.get("is_refused_for_load")
    log = logger.info if is_logged else logger.debug
    log(
        "request_answered",
        method=method,
        endpoint=endpoint,
        status=response.status_code,
        duration_seconds=round(duration, 6),
    )


def _route_pattern() -> str:
    """Return the pattern of the route that was asked for, also with a method it does not have."""
    if request.url_rule:
        return str(request.url_rule.rule)
    if isinstance(request.routing_exception, MethodNotAllowed):
        adapter = current_app.create_url_adapter(request)
        for method in request.routing_exception.valid_methods or ():
            if adapter:
                return adapter.match(method=method, return_rule=True)[0].rule
    return "unmatched"
