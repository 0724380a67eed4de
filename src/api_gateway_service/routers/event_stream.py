"""A batch's status as server-sent events, from its first to its last, which is always one in order.

It ends with the life of the token it was asked for with, with the batch, and when the service
stops; whoever still wants to listen asks again.
"""

import asyncio
import time
from contextlib import AbstractContextManager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api_gateway_service.models.values import StatusView
from api_gateway_service.services.status_feeds import Listener

COMMENT_SECONDS = 15  # so that proxies, and the caller, see that the stream lives
RECONNECT_MS = 2000  # after which a caller whose stream was cut asks again
OPENING = f"retry: {RECONNECT_MS}\n\n".encode()
COMMENT = b": alive\n\n"


class EventStream(Response):
    """The answer that goes on.

    Args:
        listening: gives what hears of the batch, for as long as the stream is open.
        last_event_id: what the caller has heard last; he is not told the same again.
        expires_at: when the token ends, in seconds since 1970.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        listening: AbstractContextManager[Listener],
        *,
        last_event_id: str | None,
        expires_at: float | None,
    ) -> None:
        super().__init__(headers={"Cache-Control": "private, no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._listening = listening
        self._last_id = last_event_id
        self._expires_at = expires_at

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        with self._listening as listener:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await _send(send, OPENING)
            await self._send_news(listener, receive, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_news(self, listener: Listener, receive: Receive, send: Send) -> None:
        """Send what is new until the end; wait for the caller to hang up, too."""
        gone = asyncio.ensure_future(_disconnected(receive))
        news = asyncio.ensure_future(listener.next_view())
        try:
            while not gone.done() and (seconds := self._seconds_left()) > 0:
                await asyncio.wait(
                    {gone, news},
                    timeout=min(COMMENT_SECONDS, seconds),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not news.done():
                    await _send(send, COMMENT)
                    continue
                if listener.is_over:
                    break
                await self._send_view(send, news)
                news = asyncio.ensure_future(listener.next_view())
        finally:
            gone.cancel()
            news.cancel()
            await asyncio.gather(gone, news, return_exceptions=True)

    async def _send_view(self, send: Send, news: "asyncio.Future[StatusView | None]") -> None:
        view = news.result()
        if view is not None and view.tag != self._last_id:
            self._last_id = view.tag
            await _send(send, to_event(view))

    def _seconds_left(self) -> float:
        return float("inf") if self._expires_at is None else self._expires_at - time.time()


def to_event(view: StatusView) -> bytes:
    """Return the event; JSON has no line ends in it, so its data is one line."""
    return b"event: status\nid: %b\ndata: %b\n\n" % (view.tag.encode(), view.body)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
