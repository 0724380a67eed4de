"""The beginning of a request: its correlation id, its route, and where it comes from.

Every answer bears the id, and what else a layer below has put among the request's headers.
"""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from uuid import UUID, uuid4

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway_service.middleware.context import RequestContext, set_context
from api_gateway_service.routing import match_route
from service_libs.health import HealthMonitor

CORRELATION_HEADER = b"x-correlation-id"
SITE_PREFIX = 64  # of IPv6: one subscriber has as many addresses as he likes below it
UNKNOWN_ADDRESS = "unknown"
MAX_REMEMBERED = 10_000  # addresses
LONGEST_ADDRESS = 45  # characters; what is longer a caller made up, and it is not remembered


class CorrelationMiddleware:
    """Begins every request.

    Args:
        app: what answers.
        monitor: says when the service is about to stop: connections end with their answers then.
    """

    def __init__(self, app: ASGIApp, monitor: HealthMonitor) -> None:
        self._app = app
        self._monitor = monitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = RequestContext(
            correlation_id=_correlation_id(scope),
            route=match_route(scope["path"]),
            address=client_address(scope),
        )
        set_context(scope, context)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(correlation_id=str(context.correlation_id))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = (CORRELATION_HEADER, str(context.correlation_id).encode())
                ending = [(b"connection", b"close")] if self._monitor.is_shutting_down else []
                message["headers"] = [*message.get("headers", ()), own, *context.headers, *ending]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def client_address(scope: Scope) -> str:
    """Return the caller's address; of IPv6 the network that one subscriber has.

    A proxy may have passed on what a caller made up: that is one address for all of them.
    """
    client = scope.get("client")
    host = client[0] if client else ""
    return _remembered_address_of(host) if len(host) <= LONGEST_ADDRESS else _address_of(host)


def _address_of(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return UNKNOWN_ADDRESS
    if isinstance(address, IPv6Address):
        # A socket of both protocols shows callers of IPv4 as addresses in one network of IPv6.
        site = ip_network((int(address), SITE_PREFIX), strict=False)
        return str(address.ipv4_mapped or site)
    return str(address)


_remembered_address_of = lru_cache(MAX_REMEMBERED)(_address_of)


def _correlation_id(scope: Scope) -> UUID:
    """Return the caller's id where it is a UUID, as events need it, else a new one."""
    for name, value in scope["headers"]:
        if name == CORRELATION_HEADER:
            try:
                return UUID(value.decode("ascii"))
            except ValueError:
                break
    return uuid4()
