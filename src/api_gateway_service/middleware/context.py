"""What the layers around the routes know of a request, and tell each other."""

from dataclasses import dataclass, field
from time import perf_counter
from uuid import UUID

from starlette.types import Scope

from api_gateway_service.models.values import Principal
from api_gateway_service.routing import MatchedRoute

_KEY = "gateway.request"

Header = tuple[bytes, bytes]


@dataclass(slots=True)
class RequestContext:
    """One request, from its head to its answer.

    Attributes:
        headers: what every answer to it has.
        principal: who asks, once that is known.
        request_id: of the pipeline that it asks for.
        decision: what became of it, for the audit; the status says it otherwise.
    """

    correlation_id: UUID
    route: MatchedRoute
    address: str
    headers: list[Header] = field(default_factory=list)
    principal: Principal | None = None
    request_id: UUID | None = None
    decision: str | None = None
    started: float = field(default_factory=perf_counter)


def set_context(scope: Scope, context: RequestContext) -> None:
    """Begin the request."""
    scope[_KEY] = context


def context_of(scope: Scope) -> RequestContext:
    """Return the context of the request."""
    context: RequestContext = scope[_KEY]
    return context
