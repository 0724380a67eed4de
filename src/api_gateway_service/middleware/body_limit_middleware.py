"""How much of a body is taken, and for how long; it is read only when somebody asks for it."""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway_service.exceptions import BodyTooLargeError, BodyTooSlowError
from api_gateway_service.middleware.context import context_of
from api_gateway_service.models.errors import answer_error

MAX_BODY_BYTES = 64 * 1024
BODY_SECONDS = 10  # in which a body must have arrived
PATIENCE_SECONDS = 0.5  # for a small body that nobody wants, before its sender has the answer


class BodyLimitMiddleware:
    """Refuses a body that is announced too large; one that turns out to be is cut short.

    An answer given before all of the body has arrived ends the connection: what comes after it is
    the rest of that body, and no request. Of a small body that is worth half a second.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        announced = _announced_length(scope)
        body = _Body(receive, announced)
        app: ASGIApp = self._app
        if announced is not None and announced > MAX_BODY_BYTES:
            context = context_of(scope)
            context.decision = BodyTooLargeError.code
            app = answer_error(BodyTooLargeError(), str(context.correlation_id))
        await app(scope, body.receive, body.sending(send))


class _Body:
    """The body of one request, as it arrives."""

    def __init__(self, receive: Receive, announced: int | None) -> None:
        self._receive = receive
        self._size = 0
        self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        self._has_arrived = announced == 0
        self._announced = announced

    async def receive(self) -> Message:
        """Return the next part.

        Raises:
            BodyTooLargeError: it is larger than allowed.
            BodyTooSlowError: it did not arrive in time.
        """
        if self._has_arrived:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlowError from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._has_arrived = not message.get("more_body", False)
            if self._size > MAX_BODY_BYTES:
                raise BodyTooLargeError
        return message

    def sending(self, send: Send) -> Send:
        """Return what sends the answer, and ends the connection where the body is not all there."""

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start" and not self._has_arrived:
                await self._discard()
                if not self._has_arrived:
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        return send_after_body

    async def _discard(self) -> None:
        if self._announced is None or self._announced > MAX_BODY_BYTES:
            return
        with suppress(TimeoutError, BodyTooLargeError, BodyTooSlowError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not self._has_arrived:
                    if (await self.receive())["type"] != "http.request":
                        return


def _announced_length(scope: Scope) -> int | None:
    """Return the length that the head announces; 0 where there is no body, None if it says not."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
        if name == b"transfer-encoding":
            return None
    return 0
