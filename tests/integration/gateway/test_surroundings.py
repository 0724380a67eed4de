"""What every answer has, whoever gives it: CORS, correlation, metrics, one line of audit."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from itertools import chain, repeat

import httpx
import pytest
import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api_gateway_service.main import make_routes
from api_gateway_service.routing import match_route
from api_gateway_service.services.pipeline_requests import PipelineRequests
from tests.support.gateway.app import Gateway, gateway_app, pipelines_path, status_path
from tests.support.gateway.tokens import bearer, token_of
from tests.support.gateway.web import Web, batch

ORIGIN = "http://localhost:5173"
EXPOSED = "X-Correlation-ID, Location, ETag, Retry-After, RateLimit, RateLimit-Policy"
SECRET_BODY = "a body that nobody logs"


@pytest.fixture(autouse=True)
def _no_pictures_of_tracebacks() -> Iterator[None]:
    """What is logged of a 500 is drawn for seconds where nobody has set logging up."""
    with structlog.testing.capture_logs():
        yield


async def answers_of_every_kind(
    gateway: Gateway, web: Web, batch_id: str, monkeypatch: pytest.MonkeyPatch
) -> dict[int, httpx.Response]:
    """Return an answer for each status, asked for from a page of React."""
    web.put(batch(batch_id))
    gateway.client.headers["Origin"] = ORIGIN
    client, path = gateway.client, pipelines_path(batch_id)
    answers = [
        await gateway.status(batch_id),
        await gateway.post(batch_id),
        await client.post(
            path, content=b"{", headers=bearer() | {"Content-Type": "application/json"}
        ),
        await client.post(path),
        await client.post(path, headers=bearer(scope="")),
        await gateway.status("unknown"),
        await client.delete(path, headers=bearer()),
        await client.post(path, content=b"x" * 70000, headers=bearer()),
        await client.post(path, content=b"x", headers=bearer()),
        await gateway.post(batch_id, {}),
    ]

    async def fail(*_: object) -> None:
        raise RuntimeError(SECRET_BODY)

    monkeypatch.setattr(PipelineRequests, "send", fail)
    answers.append(await gateway.post(batch_id))
    web.broken = (500, b"")
    answers.append(await gateway.status("other"))
    return {answer.status_code: answer for answer in answers}


async def test_a_page_may_read_every_answer(
    gateway: Gateway, web: Web, batch_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = await answers_of_every_kind(gateway, web, batch_id, monkeypatch)

    assert set(answers) == {200, 202, 400, 401, 403, 404, 405, 413, 415, 422, 500, 503}
    for answer in answers.values():
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.headers["Access-Control-Expose-Headers"] == EXPOSED
        assert "Origin" in answer.headers["Vary"]


async def test_every_error_is_a_problem_with_the_answer_s_correlation_id(
    gateway: Gateway, web: Web, batch_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = await answers_of_every_kind(gateway, web, batch_id, monkeypatch)

    for status, answer in answers.items():
        uuid.UUID(answer.headers["X-Correlation-ID"])
        if status < 400:
            continue
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status
        assert problem["correlation_id"] == answer.headers["X-Correlation-ID"]
        assert problem["retryable"] is (status in (409, 429, 503))
        assert SECRET_BODY not in answer.text


async def test_pages_of_others_are_told_nothing(gateway: Gateway) -> None:
    answer = await gateway.client.get("/livez", headers={"Origin": "https://evil.example"})

    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "header",
    [
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "X-Correlation-ID",
        "If-None-Match",
        "Last-Event-ID",
    ],
)
async def test_a_browser_may_ask_before_it_asks(gateway: Gateway, header: str) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": header,
    }

    answer = await gateway.client.options(pipelines_path("batch-1"), headers=asked)
    other = await gateway.client.options(
        pipelines_path("batch-1"), headers=asked | {"Access-Control-Request-Headers": "X-Other"}
    )

    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert header.lower() in answer.headers["Access-Control-Allow-Headers"].lower()
    assert other.status_code == 400


@pytest.mark.parametrize("given", ["not-a-uuid", "", "x" * 300, "a\\r\\nSet-Cookie: b"])
async def test_a_correlation_id_that_is_none_is_replaced(gateway: Gateway, given: str) -> None:
    answer = await gateway.client.get("/livez", headers={"X-Correlation-ID": given})

    uuid.UUID(answer.headers["X-Correlation-ID"])
    assert "Set-Cookie" not in answer.headers


async def test_every_request_is_counted_by_its_route(
    gateway: Gateway, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id))
    await gateway.post(batch_id)
    await gateway.status("unknown")
    await gateway.client.get("/v1/what/ever", headers=bearer())
    await gateway.client.get("/whatever")
    await gateway.client.request("BREW", "/livez")

    counted = {
        (sample.labels["method"], sample.labels["endpoint"], sample.labels["status_code"])
        for family in gateway.registry.collect()
        for sample in family.samples
        if sample.name == "gateway_http_requests_total"
    }

    assert counted == {
        ("POST", "/v1/batches/{batch_id}/pipelines", "202"),
        ("GET", "/v1/batches/{batch_id}/status", "404"),
        ("GET", "/v1/", "404"),
        ("GET", "unmatched", "404"),
        ("OTHER", "/livez", "405"),
    }


async def test_no_id_is_a_label(
    gateway: Gateway, web: Web, batch_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await answers_of_every_kind(gateway, web, batch_id, monkeypatch)

    text = (await gateway.client.get("/metrics")).text

    assert batch_id not in text
    assert "teacher" not in text
    assert "192.0.2.7" not in text


async def test_every_request_leaves_one_line_and_no_secret(
    gateway: Gateway, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id))
    token = token_of()

    answer = await gateway.client.post(
        pipelines_path(batch_id),
        json={"requested_pipeline": "nlp", "retry_reason": SECRET_BODY},
        headers={"Authorization": f"Bearer {token}", "Idempotency-Key": "a key"},
    )
    await gateway.post("unknown")
    await gateway.client.get(status_path(batch_id))
    await gateway.client.get("/livez")

    text = gateway.audited.getvalue()
    accepted, unknown, refused = [json.loads(line) for line in text.splitlines()]
    assert accepted["event"] == "request_audited"
    assert (accepted["user_id"], accepted["decision"], accepted["status"]) == (
        "teacher",
        "accepted",
        202,
    )
    assert accepted["batch_id"] == batch_id
    assert accepted["request_id"] == answer.json()["request_id"]
    assert (unknown["decision"], unknown["status"]) == ("unknown_batch", 404)
    assert (refused["user_id"], refused["decision"]) == (None, "missing")
    assert refused["address"] == "192.0.2.7"
    assert token not in text
    assert SECRET_BODY not in text


async def test_a_request_whose_caller_hangs_up_leaves_its_line_too(
    gateway: Gateway, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id))
    web.delay_seconds = 1

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(gateway.status(batch_id), 0.1)

    line = json.loads(gateway.audited.getvalue())
    assert (line["decision"], line["status"]) == ("aborted", None)


async def test_who_hangs_up_within_his_body_is_no_fault_of_ours(
    gateway: Gateway, batch_id: str
) -> None:
    answers: list[Message] = []
    begun: Message = {"type": "http.request", "body": b"{", "more_body": True}

    async def hang_up(scope: Scope, _receive: Receive, send: Send) -> None:
        messages = chain([begun], repeat({"type": "http.disconnect"}))

        async def hear() -> Message:
            return next(messages)

        async def answer(message: Message) -> None:
            answers.append(message)

        await gateway.app(scope, hear, answer)
        await Response("nobody is there")(scope, hear, send)

    with structlog.testing.capture_logs() as logged:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(hang_up)) as client:
            url = f"http://gateway{pipelines_path(batch_id)}"
            await client.post(url, json={}, headers=bearer("teacher"))

    line = json.loads(gateway.audited.getvalue())
    assert (line["decision"], line["status"]) == ("aborted", None)
    assert not answers
    assert not logged


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_the_documentation_needs_nothing_from_outside(gateway: Gateway, path: str) -> None:
    page = await gateway.client.get(path)
    parts = [part for part in page.text.replace("'", '"').split('"') if part.startswith("/docs/a")]

    assert page.status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert parts
    for part in parts:
        asset = await gateway.client.get(part)
        assert (asset.status_code, bool(asset.content)) == (200, True)
    assert (await gateway.client.get("/docs/assets/other.js")).status_code == 404


async def test_it_serves_while_everything_else_is_away() -> None:
    async with gateway_app(redis_url="redis://127.0.0.1:1") as gateway:
        health = await gateway.client.get("/healthz")
        ready = await gateway.client.get("/readyz")
        status = await gateway.status("batch-1")

    assert (health.status_code, ready.status_code, status.status_code) == (200, 200, 503)
    assert set(health.json()["dependencies"]) == {"bos", "kafka", "redis_gateway"}


def test_the_table_of_routes_is_the_router_s() -> None:
    """What is labelled, limited and guarded is what there is."""
    paths = make_routes().openapi()["paths"]

    for path in paths:
        assert match_route(path.replace("{batch_id}", "b")).template == path
