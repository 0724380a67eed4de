"""What is answered past the framework is answered as the framework would."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from api_gateway_service import main
from api_gateway_service.routers.direct_routes import DirectRoutes
from tests.support.gateway.app import Gateway, gateway_app, pipelines_path, status_path
from tests.support.gateway.tokens import bearer
from tests.support.gateway.web import Web, batch, run

KNOWN, ANOTHERS, NEWER = "a-batch", "another-s", "newer"
CORRELATION = "6c1f3a52-9b8e-4d47-a4f0-3e9b1c2d4f55"
JSON = "application/json"
GOOD = b'{"requested_pipeline": "nlp"}'
OTHER = b'{"requested_pipeline": "cj_assessment"}'
PAGE = "http://localhost:3000"
LONG_KEY = "k" * 256
VARIES = ("accepted_at", "request_id")

CLICKS: dict[str, dict[str, Any]] = {
    "good": {},
    "with a key": {"Idempotency-Key": "once"},
    "with a key of another body": {"Idempotency-Key": "once", "content": OTHER},
    "with a key that is too long": {"Idempotency-Key": LONG_KEY},
    "with a key that is empty": {"Idempotency-Key": ""},
    "with a key of spaces": {"Idempotency-Key": "  x  "},
    "with a key that is not printable": {"Idempotency-Key": "\u00e9"},
    "of an unknown batch": {"batch": "unknown"},
    "of another's batch": {"batch": ANOTHERS},
    "of no batch": {"batch": "a*b"},
    "of a batch with a colon": {"batch": "a:b"},
    "of a long batch": {"batch": "b" * 256},
    "of dots": {"batch": "%2E%2E"},
    "with a slash in it": {"batch": "a%2Fb"},
    "no JSON": {"content": b"{"},
    "empty": {"content": b""},
    "large": {"content": b"x" * 70_000},
    "of another type": {"Content-Type": "text/plain"},
    "with parameters of its type": {"Content-Type": "application/json; charset=utf-8"},
    "of no pipeline": {"content": b'{"requested_pipeline": "none"}'},
    "of fields": {"content": b'{"requested_pipeline": 5, "is_retry": "yes"}'},
    "of another batch inside": {"content": b'{"requested_pipeline": "nlp", "batch_id": "b"}'},
    "without a token": {"Authorization": None},
    "with another method": {"method": "PUT"},
    "by HEAD": {"method": "HEAD"},
    "by OPTIONS": {"method": "OPTIONS", "Origin": PAGE, "Access-Control-Request-Method": "POST"},
    "from a page": {"Origin": PAGE},
}
LOOKS: dict[str, dict[str, Any]] = {
    "good": {},
    "at a batch that is newer than we": {"batch": NEWER},
    "at an unknown batch": {"batch": "unknown"},
    "at another's batch": {"batch": ANOTHERS},
    "at no batch": {"batch": "a*b"},
    "at any version": {"If-None-Match": "*"},
    "at another version": {"If-None-Match": '"other", W/"third"'},
    "without a token": {"Authorization": None},
    "by HEAD": {"method": "HEAD"},
    "by POST": {"method": "POST", "content": GOOD},
    "with a query": {"query": "?batch_id=unknown"},
}


@asynccontextmanager
async def both(web: Web, kafka: str) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """The application as it is, and one that leaves all to the framework."""
    for name, user, status in (
        (KNOWN, "teacher", "processing_pipelines"),
        (ANOTHERS, "somebody", "processing_pipelines"),
        (NEWER, "teacher", "unheard_of"),
    ):
        web.put(batch(name, user, status, run()))
    settings = {"bos_url": web.url, "kafka_bootstrap_servers": kafka}
    async with gateway_app(**settings) as direct:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(main, "DirectRoutes", lambda app, *_: app)
            async with gateway_app(**settings) as framework:
                yield direct, framework


async def ask(gateway: Gateway, path: str, given: dict[str, Any]) -> httpx.Response:
    headers = bearer("teacher") | {"X-Correlation-ID": CORRELATION}
    headers |= {name: value for name, value in given.items() if name[0].isupper()}
    return await gateway.client.request(
        given["method"],
        path + given.get("query", ""),
        content=given.get("content"),
        headers=[
            (name.encode(), value.encode("latin-1"))
            for name, value in headers.items()
            if value is not None
        ],
    )


def comparable(answer: httpx.Response) -> tuple[object, ...]:
    """Return what two answers to one request have in common."""
    is_json = answer.headers.get("content-type", "").startswith(JSON)
    body = answer.json() if is_json else answer.content
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in VARIES}
    headers = [(name, value) for name, value in answer.headers.raw if name != b"ratelimit"]
    return answer.status_code, body, sorted(headers)


def audited(gateway: Gateway) -> list[tuple[str, ...]]:
    """Return what the audit says, but of times."""
    lines = gateway.audited.getvalue().splitlines()
    told = [httpx.Response(200, content=line).json() for line in lines]
    return [(one["endpoint"], one["decision"], one["status"], one["batch_id"]) for one in told]


@pytest.mark.parametrize("given", CLICKS.values(), ids=CLICKS)
async def test_a_click_is_answered_alike(web: Web, kafka: str, given: dict[str, Any]) -> None:
    given = {"method": "POST", "content": GOOD, "Content-Type": JSON, "batch": KNOWN} | given
    async with both(web, kafka) as (direct, framework):
        first = {"method": "POST", "content": GOOD, "Content-Type": JSON, "Idempotency-Key": "once"}
        answers = []
        for gateway in (direct, framework):
            await ask(gateway, pipelines_path(KNOWN), first)
            answers.append(comparable(await ask(gateway, pipelines_path(given["batch"]), given)))

        assert answers[0] == answers[1]
        assert audited(direct) == audited(framework)


@pytest.mark.parametrize("given", LOOKS.values(), ids=LOOKS)
async def test_a_look_is_answered_alike(web: Web, kafka: str, given: dict[str, Any]) -> None:
    given = {"method": "GET", "batch": KNOWN} | given
    async with both(web, kafka) as (direct, framework):
        answers = [
            comparable(await ask(gateway, status_path(given["batch"]), given))
            for gateway in (direct, framework)
        ]

        assert answers[0] == answers[1]
        assert audited(direct) == audited(framework)


async def test_what_is_good_does_not_reach_the_framework(
    web: Web, kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Alone(DirectRoutes):
        def __init__(self, _app: ASGIApp, *others: Any) -> None:
            super().__init__(httpx.ASGITransport, *others)  # type: ignore[arg-type] # is never called

    monkeypatch.setattr(main, "DirectRoutes", Alone)
    web.put(batch(KNOWN, "teacher", "processing_pipelines", run()))
    async with gateway_app(bos_url=web.url, kafka_bootstrap_servers=kafka) as gateway:
        clicked = await gateway.post(KNOWN, Idempotency_Key="once")
        looked = await gateway.status(KNOWN)

    assert (clicked.status_code, looked.status_code) == (202, 200)
