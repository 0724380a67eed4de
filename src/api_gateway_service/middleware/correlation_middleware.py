"""The beginning of a request: its correlation id, its route, and where it comes from.

Every answer bears the id, and what else a layer below has put among the request's headers.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from uuid import UUID, uuid4

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway_service.middleware.context import RequestContext, set_context
from api_gateway_service.routing import match_route
from service_libs.health import HealthMonitor

CORRELATION_HEADER = b"x-correlation-id"
FORWARDED_HEADER = b"x-forwarded-for"
SITE_PREFIX = 64  # of IPv6: one subscriber has as many addresses as he likes below it
UNKNOWN_ADDRESS = "unknown"

Networks = Sequence[IPv4Network | IPv6Network]


class CorrelationMiddleware:
    """Begins every request.

    Args:
        app: what answers.
        trusted: the proxies whose word about the caller's address is taken.
        monitor: says when the service is about to stop: connections end with their answers then.
    """

    def __init__(self, app: ASGIApp, trusted: Networks, monitor: HealthMonitor) -> None:
        self._app = app
        self._trusted = trusted
        self._monitor = monitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = RequestContext(
            correlation_id=_correlation_id(scope),
            route=match_route(scope["path"]),
            address=client_address(scope, self._trusted),
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


def client_address(scope: Scope, trusted: Networks) -> str:
    """Return the caller's address; of IPv6 the network that one subscriber has.

    The header is read from its end, for as long as trusted proxies wrote it: what stands before
    that anybody may have made up.
    """
    client = scope.get("client")
    address = client[0] if client else UNKNOWN_ADDRESS
    if not trusted:
        return _site(address)
    hops = [
        hop.strip()
        for name, value in scope["headers"]
        if name == FORWARDED_HEADER
        for hop in value.decode("latin-1").split(",")
    ]
    while hops and _is_among(address, trusted):
        hop = hops.pop()
        if not _is_address(hop):
            break
        address = hop
    return _site(address)


def _correlation_id(scope: Scope) -> UUID:
    """Return the caller's id where it is a UUID, as events need it, else a new one."""
    for name, value in scope["headers"]:
        if name == CORRELATION_HEADER:
            try:
                return UUID(value.decode("ascii"))
            except ValueError:
                break
    return uuid4()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_among(address: str, networks: Networks) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in networks)


def _site(address: str) -> str:
    if ":" not in address or not _is_address(address):
        return address
    return str(ip_network((address.partition("%")[0], SITE_PREFIX), strict=False))
