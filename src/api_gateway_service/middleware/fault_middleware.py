"""Answers what the layers below raise, and what the framework raised after it had answered."""

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway_service.middleware.context import context_of
from api_gateway_service.models.errors import answer_error, code_of


class FaultMiddleware:
    """No exception passes it but one that comes when an answer has begun and cannot end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = has_ended = False

        async def send_watched(message: Message) -> None:
            nonlocal has_begun, has_ended
            has_begun = True
            has_ended = not message.get("more_body", message["type"] == "http.response.start")
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except ClientDisconnect:
            return  # nobody hears an answer, and nothing is wrong here
        except Exception as exc:  # the last handler, for whatever nobody foresaw
            if has_ended:
                return  # the framework has answered and logged it, and raises it again
            if has_begun:
                raise
            context = context_of(scope)
            context.decision = context.decision or code_of(exc)
            answer = answer_error(exc, str(context.correlation_id))
            await answer(scope, receive, send)
