"""The audit: one line for each request below `/v1`, of who asked for what and what was decided.

Never a body, never a token. A stream's line is written when it begins.
"""

from collections.abc import Mapping
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway_service.middleware.context import RequestContext, context_of
from api_gateway_service.protocols import AuditLogProtocol

MAX_SHOWN = 255  # characters of what a caller chose freely
ABORTED = "aborted"  # the caller hung up before there was an answer
REFUSED = 400  # status, from which on a request was refused


class AuditMiddleware:
    """Writes the line when the answer begins, or when there will be none."""

    def __init__(self, app: ASGIApp, log: AuditLogProtocol) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        if not context.route.is_protected:
            await self._app(scope, receive, send)
            return
        is_written = False

        def write(status: int | None) -> None:
            nonlocal is_written
            if not is_written:
                is_written = True
                self._log.write(_describe(context, scope["method"], status))

        async def send_audited(message: Message) -> None:
            if message["type"] == "http.response.start":
                write(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_audited)
        finally:
            write(None)


def _describe(
    context: RequestContext, method: str, status: int | None
) -> Mapping[str, str | int | float | None]:
    if status is None:
        decision = ABORTED
    else:
        decision = context.decision or ("refused" if status >= REFUSED else "allowed")
    batch_id = context.route.batch_id
    return {
        "correlation_id": str(context.correlation_id),
        "user_id": context.principal.user_id if context.principal else None,
        "address": context.address,
        "method": method[:MAX_SHOWN],
        "endpoint": context.route.template,
        "batch_id": batch_id[:MAX_SHOWN] if batch_id else None,
        "decision": decision,
        "status": status,
        "request_id": str(context.request_id) if context.request_id else None,
        "duration_seconds": round(perf_counter() - context.started, 6),
    }
