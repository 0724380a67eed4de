"""The two routes that are asked most, answered past the framework.

Its routing, its own layers and its reading of parameters take longer than both answers. What makes
the answer is the route's own function, and every layer of ours stands around it as around the
framework. A request with anything about it that is not as it must be goes to the framework, which
says what.
"""

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api_gateway_service.middleware.context import context_of
from api_gateway_service.routers.pipeline_routes import (
    MAX_KEY_LENGTH,
    PRINTABLE_KEY,
    request_pipeline,
    show_status,
)
from api_gateway_service.routing import PIPELINES, STATUS
from api_gateway_service.services.batch_access import BatchAccess
from api_gateway_service.services.pipeline_requests import PipelineRequests
from common_core.fields import is_identifier

Answer = Callable[[Request, str], Awaitable[Response] | None]

_KEY = re.compile(PRINTABLE_KEY)


class DirectRoutes:
    """Answers what it can, and leaves all else to the framework.

    Args:
        app: the framework.
        requests: sends clicks on.
        access: shows owners their batches.
    """

    def __init__(self, app: ASGIApp, requests: PipelineRequests, access: BatchAccess) -> None:
        self._app = app
        self._requests = requests
        self._access = access
        self._answers: dict[tuple[str, str], Answer] = {
            ("POST", PIPELINES): self._request_pipeline,
            ("GET", STATUS): self._show_status,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = context_of(scope).route
        answer = self._answers.get((scope["method"], route.template))
        app = self._app
        if answer is not None and route.batch_id is not None and is_identifier(route.batch_id):
            answering = answer(Request(scope, receive), route.batch_id)
            app = self._app if answering is None else await answering
        await app(scope, receive, send)

    def _request_pipeline(self, request: Request, batch_id: str) -> Awaitable[Response] | None:
        key = request.headers.get("idempotency-key")
        if key is not None and (len(key) > MAX_KEY_LENGTH or not _KEY.fullmatch(key)):
            return None
        return request_pipeline(request, batch_id, self._requests, key)

    def _show_status(self, request: Request, batch_id: str) -> Awaitable[Response] | None:
        return show_status(request, batch_id, self._access, request.headers.get("if-none-match"))
