"""Live updates: at once, on each change, from one question however many listen."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import structlog

from api_gateway_service.implementations import bos_client_impl
from api_gateway_service.implementations.bos_client_impl import BosClient
from api_gateway_service.implementations.token_verifier_impl import LEEWAY_SECONDS
from api_gateway_service.main import create_app
from api_gateway_service.models.values import Principal
from api_gateway_service.routers import event_stream
from api_gateway_service.routers.event_stream import EventStream
from api_gateway_service.services import status_feeds
from api_gateway_service.services.status_feeds import StatusFeeds
from api_gateway_service.services.status_views import to_batch
from api_gateway_service.startup_setup import build_container
from tests.support.gateway.app import gateway_app, settings_of
from tests.support.gateway.server import served
from tests.support.gateway.streams import listening
from tests.support.gateway.tokens import bearer
from tests.support.gateway.web import Web, batch, run
from tests.support.waiting import eventually

DONE = "completed_successfully"


@pytest.fixture
async def address(web: Web, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A gateway that asks BOS ten times as often as it does."""
    monkeypatch.setattr(status_feeds, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(status_feeds, "MAX_BACKOFF_SECONDS", 0.1)
    monkeypatch.setattr(bos_client_impl, "OPEN_SECONDS", 0.1)
    settings = settings_of(bos_url=web.url)
    container = build_container(settings)
    with structlog.testing.capture_logs() as log:
        async with served(await create_app(settings, container)) as port:
            yield f"http://127.0.0.1:{port}"
    await container.close()
    assert not [line for line in log if line["log_level"] in {"error", "critical"}]


async def test_the_status_is_told_at_once_and_on_each_change(
    address: str, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id))

    async with listening(address, batch_id, bearer()) as stream:
        await stream.until(1)
        web.put(batch(batch_id, "teacher", "processing_pipelines", run()))
        await stream.until(2)
        web.put(batch(batch_id, "teacher", DONE, run(state=DONE)))
        heard = await stream.until(3)

    assert stream.status_code == 200
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    assert stream.headers["Cache-Control"] == "private, no-cache"
    assert [one["status"] for one in heard] == ["ready", "processing", DONE]
    assert len(set(stream.ids)) == 3


async def test_what_was_heard_before_is_not_told_again(
    address: str, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id))
    async with listening(address, batch_id, bearer()) as stream:
        await stream.until(1)
    async with httpx.AsyncClient(base_url=address) as client:
        shown = await client.get(f"/v1/batches/{batch_id}/status", headers=bearer())

    known = bearer() | {"Last-Event-ID": stream.ids[0]}
    async with listening(address, batch_id, known) as again:
        await asyncio.sleep(0.3)
        web.put(batch(batch_id, "teacher", "processing_pipelines", run()))
        heard = await again.until(1)

    assert shown.headers["ETag"] == f'"{stream.ids[0]}"'
    assert [one["status"] for one in heard] == ["processing"]


async def test_bos_is_asked_once_however_many_listen(address: str, web: Web, batch_id: str) -> None:
    for number in range(12):
        web.put(batch(f"{batch_id}-{number}"))
    web.put(batch(batch_id))
    path = f"/internal/v1/batches/{batch_id}/pipeline-state"

    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(listening(address, batch_id, bearer()))
            for _ in range(5)
        ]
        for stream in streams:
            await stream.until(1)
        before, started = web.asked[path], time.monotonic()
        await asyncio.sleep(0.8)
        asked, seconds = web.asked[path] - before, time.monotonic() - started

    assert asked <= seconds / 0.05 + 1  # of one feed; five would have asked five times as often
    assert asked >= 1

    async def is_left_alone() -> bool:
        count = web.asked[path]
        await asyncio.sleep(0.4)
        return web.asked[path] == count

    await eventually(is_left_alone)


async def test_a_user_has_five_streams(address: str, web: Web, batch_id: str) -> None:
    web.put(batch(batch_id, "busy"))
    headers = bearer("busy")

    async with AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(listening(address, batch_id, headers))
        async with httpx.AsyncClient(base_url=address) as client:
            sixth = await client.get(f"/v1/batches/{batch_id}/events", headers=headers)

    assert (sixth.status_code, sixth.json()["code"]) == (429, "too_many_streams")
    assert sixth.json()["retryable"] is True
    assert sixth.headers["Retry-After"]

    async def is_room() -> bool:
        async with listening(address, batch_id, headers) as stream:
            return stream.status_code == 200

    await eventually(is_room)


@pytest.mark.parametrize(
    ("owner", "status"), [("somebody else", 404), (None, 404)], ids=["foreign", "unknown"]
)
async def test_nobody_listens_to_what_is_not_his(
    address: str, web: Web, batch_id: str, owner: str | None, status: int
) -> None:
    if owner:
        web.put(batch(batch_id, owner))

    async with httpx.AsyncClient(base_url=address) as client:
        answer = await client.get(f"/v1/batches/{batch_id}/events", headers=bearer())

    assert (answer.status_code, answer.json()["code"]) == (status, "unknown_batch")


async def test_a_batch_that_is_given_away_is_heard_of_no_more(
    address: str, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id))

    async with listening(address, batch_id, bearer()) as stream:
        await stream.until(1)
        web.put(batch(batch_id, "somebody else"))
        await stream.until_ended()

    assert len(stream.events) == 1


async def test_a_stream_ends_with_its_token(address: str, web: Web, batch_id: str) -> None:
    web.put(batch(batch_id))
    # A token is taken for 30 s after its end: for half a second more, or one and a half.
    token = bearer(exp=int(time.time() - LEEWAY_SECONDS + 1.5))

    async with listening(address, batch_id, token) as stream:
        await stream.until(1)
        assert not stream.has_ended
        await stream.until_ended(4)


async def test_a_stream_outlives_a_bos_that_is_away(address: str, web: Web, batch_id: str) -> None:
    web.put(batch(batch_id))

    async with listening(address, batch_id, bearer()) as stream:
        await stream.until(1)
        web.broken = (500, b"")
        await asyncio.sleep(0.5)
        web.put(batch(batch_id, "teacher", "processing_pipelines", run()))
        web.broken = None
        await stream.until(2)

    assert not stream.has_ended


class Played:
    """The two ends of a connection, played."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.has_gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.has_gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:  # noqa: ANN401 - as in ASGI
        self.sent.append(message)

    @property
    def text(self) -> bytes:
        """All that was sent."""
        return b"".join(message.get("body", b"") for message in self.sent)


@pytest.fixture
async def feeds(web: Web) -> AsyncIterator[StatusFeeds]:
    async with gateway_app(bos_url=web.url) as gateway:
        yield await gateway.container.get(StatusFeeds)


def stream_of(feeds: StatusFeeds, expires_at: float | None = None) -> EventStream:
    principal = Principal(user_id="teacher", scopes=frozenset())
    return EventStream(
        feeds.listening("batch-1", principal), last_event_id=None, expires_at=expires_at
    )


async def test_a_stream_on_which_nothing_happens_shows_that_it_lives(
    web: Web, feeds: StatusFeeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.put(batch("batch-1"))
    monkeypatch.setattr(event_stream, "COMMENT_SECONDS", 0.1)
    played = Played()
    sending = asyncio.create_task(stream_of(feeds)({}, played.receive, played.send))

    async def shows() -> bool:
        return played.text.count(b": alive\n\n") >= 3

    await eventually(shows)
    played.has_gone.set()
    await asyncio.wait_for(sending, 1)

    assert played.text.startswith(b"retry: 2000\n\n")
    assert b"event: status\nid: " in played.text
    assert feeds.count == 0


async def test_what_begins_while_the_service_stops_ends_at_once(feeds: StatusFeeds) -> None:
    feeds.end_all()
    played = Played()

    await asyncio.wait_for(stream_of(feeds)({}, played.receive, played.send), 1)

    assert played.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_feed_that_fails_leaves_nobody_waiting(
    feeds: StatusFeeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(BosClient, "find_batch", fail)
    principal = Principal(user_id="teacher", scopes=frozenset())

    with feeds.listening("batch-1", principal) as listener:
        assert await asyncio.wait_for(listener.next_view(), 1) is None
        assert listener.is_over


async def test_who_reads_slowly_gets_the_latest_and_not_all_that_was(
    web: Web, feeds: StatusFeeds
) -> None:
    web.put(batch("batch-1"))
    principal = Principal(user_id="teacher", scopes=frozenset())

    with feeds.listening("batch-1", principal) as listener:
        first = await listener.next_view()
        for status in ("processing_pipelines", DONE):
            listener.tell(to_batch(batch("batch-1", "teacher", status)))
        second = await listener.next_view()

    assert first is not None
    assert second is not None
    assert b'"status":"ready"' in first.body
    assert b'"status":"completed_successfully"' in second.body
