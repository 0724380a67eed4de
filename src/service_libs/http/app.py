"""The framework's application, and what is done around each request.

Correlation id, deadline and token come before it; metrics and one log line after it.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from time import perf_counter
from uuid import uuid4

import structlog
from dishka import AsyncContainer
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from pydantic import SecretStr
from quart import Quart, Response, current_app, request
from quart_dishka import QuartDishka
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, ClientDisconnected, MethodNotAllowed, Unauthorized

from common_core.fields import MAX_CORRELATION_LENGTH
from service_libs.health import HealthMonitor
from service_libs.http.exchange import (
    Exchange,
    Reply,
    adopt_correlation,
    current_exchange,
)
from service_libs.http.problems import Problems
from service_libs.metrics import ServiceMetrics
from service_libs.settings import CALLERS_MARGIN_SECONDS

logger = structlog.get_logger(__name__)

CORRELATION_HEADER = "x-correlation-id"
PROTECTED_PREFIX = "/internal/"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

Answer = Callable[[], Awaitable[Reply]]


class Surroundings:
    """What is done before and after every request of an application.

    Args:
        container: of the application; nothing is taken from it before the first request.
        token: what callers of protected routes must show; None where they need nothing.
        callers_patience_seconds: how long callers wait for an answer.
    """

    def __init__(
        self,
        container: AsyncContainer,
        *,
        token: SecretStr | None,
        callers_patience_seconds: float,
    ) -> None:
        self._container = container
        self._expected = token.get_secret_value().encode() if token else None
        self._seconds = callers_patience_seconds - CALLERS_MARGIN_SECONDS
        self._requests: _Requests | None = None

    def begin(self, exchange: Exchange) -> None:
        """Take the correlation id and the time, and check what every request must have.

        Raises:
            BadRequest: another reader may see another end of it: it may hide a second request.
            Unauthorized: it does not show the token.
        """
        structlog.contextvars.clear_contextvars()
        given = exchange.header(CORRELATION_HEADER)
        adopt_correlation(given if _fits_header(given) else str(uuid4()))
        exchange.deadline = asyncio.get_running_loop().time() + self._seconds
        if exchange.is_framed_twice:
            raise BadRequest
        if self._expected is not None and exchange.scope["path"].startswith(PROTECTED_PREFIX):
            _check_token(exchange.header("authorization"), self._expected)

    async def end(
        self, exchange: Exchange, endpoint: str, status: int
    ) -> Sequence[tuple[str, str]]:
        """Count and log the answer to a route; return the headers that every answer has."""
        headers = []
        if _fits_header(exchange.correlation_id):
            headers.append(("X-Correlation-ID", exchange.correlation_id))
        monitor = await self._container.get(HealthMonitor)
        if monitor.is_shutting_down or exchange.is_framed_twice:
            # The connection ends with this answer, so that no later request meets a closed door.
            headers.append(("Connection", "close"))
        self._requests = self._requests or _Requests(await self._container.get(ServiceMetrics))
        self._requests.note(exchange, endpoint, status)
        return headers


class ServiceApp(Quart):
    """An application with an exchange and the same surroundings around each request.

    A route may be answered *directly*: past the framework, whose routing, contexts and objects for
    request and response take more time than the answer. What surrounds a request and how errors are
    answered is the same, for both are made of `Surroundings` and `Problems`; the route is known to
    the framework as well, which answers other methods and knows what routes there are.
    """

    def __init__(
        self, name: str, container: AsyncContainer, surroundings: Surroundings, problems: Problems
    ) -> None:
        super().__init__(name, static_folder=None)
        self.url_map.merge_slashes = False  # a redirect would lead wherever Host says
        # Our own limits hold for bodies and answers, and give problems instead of bare errors.
        self.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)
        self._surroundings = surroundings
        self._problems = problems
        self._direct: dict[tuple[str, str], Answer] = {}
        QuartDishka(app=self, container=container)
        self.before_request(self._begin)
        self.after_request(self._end)
        self.register_error_handler(Exception, self._answer_error)

    def answer_directly(self, method: str, path: str, answer: Answer) -> None:
        """Answer the route past the framework; the current exchange has the request."""
        self._direct[method, path] = answer

        async def answer_through_the_framework() -> Response:
            return _to_response(await answer())

        self.add_url_rule(path, path, answer_through_the_framework, methods=[method])

    async def asgi_app(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer a request, or start and stop."""
        if scope["type"] != "http":
            await super().asgi_app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        try:
            answer = self._direct.get((scope["method"], scope["path"]))
            if answer is None:
                await super().asgi_app(scope, exchange.receive, exchange.send)
            else:
                await self._answer_directly(exchange, answer)
        finally:
            exchange.end()

    async def _answer_directly(self, exchange: Exchange, answer: Answer) -> None:
        try:
            self._surroundings.begin(exchange)
            reply = await answer()
        except ClientDisconnected:
            return
        except Exception as error:  # noqa: BLE001 - every error has an answer, here as everywhere
            reply = await self._problems.reply(error)
        endpoint = exchange.scope["path"]
        headers = await self._surroundings.end(exchange, endpoint, reply.status)
        await exchange.answer(reply, headers)

    async def _begin(self) -> None:
        self._surroundings.begin(current_exchange())

    async def _end(self, response: Response) -> Response:
        headers = await self._surroundings.end(
            current_exchange(), _route_pattern(), response.status_code
        )
        for name, value in headers:
            response.headers[name] = value
        return response

    async def _answer_error(self, error: Exception) -> Response:
        return _to_response(await self._problems.reply(error))


def _to_response(reply: Reply) -> Response:
    response = Response(reply.body, status=reply.status, content_type=reply.content_type)
    for name, value in reply.headers:
        response.headers[name] = value
    return response


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


def _fits_header(text: str) -> bool:
    """Whether the text arrives unaltered in a header, and is bounded."""
    is_printable = text.isascii() and text.isprintable() and text == text.strip()
    return is_printable and 0 < len(text) <= MAX_CORRELATION_LENGTH


def _check_token(shown: str, expected: bytes) -> None:
    scheme, _, given = shown.partition(" ")
    is_right = hmac.compare_digest(given.strip().encode(), expected)
    if scheme.lower() != "bearer" or not is_right:
        raise Unauthorized(www_authenticate=WWWAuthenticate("bearer"))


class _Requests:
    """Counts and logs them; their labels are few, and the library's own look-up takes long."""

    def __init__(self, metrics: ServiceMetrics) -> None:
        self._logger = logger.bind()  # once: to make one for each line takes as long as the line
        self._counted = cache(metrics.http_requests.labels)
        self._timed = cache(metrics.http_duration.labels)

    def note(self, exchange: Exchange, endpoint: str, status: int) -> None:
        """Note that a request to the route was answered."""
        asked = exchange.scope["method"]
        method = asked if asked in METHODS else "OTHER"
        duration = perf_counter() - exchange.started
        self._counted(method, endpoint, str(status)).inc()
        self._timed(method, endpoint).observe(duration)
        # Of those that are refused for load there may be thousands; the counter says how many.
        is_logged = endpoint.startswith(PROTECTED_PREFIX) and not exchange.is_refused_for_load
        log = self._logger.info if is_logged else self._logger.debug
        log(
            "request_answered",
            method=method,
            endpoint=endpoint,
            status=status,
            duration_seconds=round(duration, 6),
        )
