"""What happens around every request: correlation, deadline, place, token, metrics, one log line.

The correlation id is taken from the caller, bound to every log line, and given back.
"""

import asyncio
import hmac
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from uuid import uuid4

import structlog
from pydantic import SecretStr, ValidationError
from quart import Quart, Response, current_app, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, MethodNotAllowed, Unauthorized

from common_core.fields import MAX_CORRELATION_LENGTH
from common_core.problem import FieldError
from service_libs.exceptions import DeadlineExceededError, OverloadedError
from service_libs.health import HealthMonitor
from service_libs.http.intake import current_exchange
from service_libs.metrics import ServiceMetrics
from service_libs.settings import CALLERS_MARGIN_SECONDS

logger = structlog.get_logger(__name__)

CORRELATION_HEADER = "X-Correlation-ID"
PROTECTED_PREFIX = "/internal/"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestGate:
    """Lets so many requests in at once, and refuses the rest."""

    def __init__(self, max_concurrent: int) -> None:
        self._max_concurrent = max_concurrent
        self.in_flight = 0

    def check(self) -> None:
        """Return if there is a place.

        Raises:
            OverloadedError: all places are taken.
        """
        if self.in_flight >= self._max_concurrent:
            raise OverloadedError

    def enter(self) -> None:
        """Take a place for the current request, until its answer is sent.

        Raises:
            OverloadedError: all places are taken.
        """
        self.check()
        self.in_flight += 1
        current_exchange().at_end.callback(self._leave)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Give the place up for as long as the current request only waits, and take it again.

        Those who wait are as many as there are connections, at most.
        """
        self.in_flight -= 1
        try:
            yield
        finally:
            self.in_flight += 1

    def _leave(self) -> None:
        self.in_flight -= 1


class InvalidRequestError(BadRequest):
    """The request is not JSON, or fields are missing or out of their limits."""

    def __init__(self, faults: list[FieldError]) -> None:
        super().__init__()
        self.faults = faults


def register_middleware(
    app: Quart, *, token: SecretStr | None, callers_patience_seconds: float
) -> None:
    """Do before and after every request what concerns all of them."""
    expected = token.get_secret_value().encode() if token else None

    @app.before_request
    async def begin() -> None:
        g.started = perf_counter()
        _begin_correlation()
        _begin_deadline(callers_patience_seconds)
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


def remaining_seconds() -> float:
    """Return how long it is until this request must be answered."""
    return float(max(0.0, g.deadline - asyncio.get_running_loop().time()))


@asynccontextmanager
async def within_deadline() -> AsyncIterator[None]:
    """Work on this request until its deadline.

    Raises:
        DeadlineExceededError: the time is up.
    """
    limit = asyncio.timeout_at(g.deadline)
    try:
        async with limit:
            yield
    except TimeoutError as exc:
        if not limit.expired():
            raise  # somebody else's time was up
        raise DeadlineExceededError from exc


@contextmanager
def refusing_invalid_fields() -> Iterator[None]:
    """Make what pydantic says of a caller's data the caller's fault; elsewhere it is ours.

    Raises:
        InvalidRequestError: the data is invalid.
    """
    try:
        yield
    except ValidationError as exc:
        faults = exc.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidRequestError(
            [
                FieldError(field=".".join(map(str, fault["loc"])) or "body", message=fault["msg"])
                for fault in faults
            ]
        ) from exc


def _begin_deadline(callers_patience_seconds: float) -> None:
    """Start the time in which this request must be answered."""
    seconds = callers_patience_seconds - CALLERS_MARGIN_SECONDS
    g.deadline = asyncio.get_running_loop().time() + seconds


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
