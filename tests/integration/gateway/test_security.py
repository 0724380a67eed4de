"""What strangers try: to learn of others' batches, and to write into answers, logs and keys."""

import json
from collections.abc import Iterator
from statistics import median
from time import perf_counter

import httpx
import pytest
import structlog

from api_gateway_service.services.pipeline_requests import PipelineRequests
from tests.support.gateway.app import Gateway, gateway_app, pipelines_path, status_path
from tests.support.gateway.tokens import bearer, token_of
from tests.support.gateway.web import Web, batch, run

FORGED = [
    "a%0d%0aSet-Cookie:%20b=c",
    "a%0aX-Admin:%20yes",
    "%1b%5b2Ja",
    "a%e2%80%ae",
    "%22%7d%0a%7b%22user_id%22:%22admin%22%7d",
]
INTERNALS = ("Traceback", "File \\", ".py", "api_gateway_service", "site-packages", "127.0.0.1")
SECRET = "a secret that stands in a body"


@pytest.fixture(autouse=True)
def log() -> Iterator[list[structlog.typing.EventDict]]:
    """What the service logs beside its audit."""
    with structlog.testing.capture_logs() as log:
        yield log


async def seconds_of(gateway: Gateway, name: str, user: str) -> float:
    started = perf_counter()
    answer = await gateway.status(name, user=user)
    assert answer.status_code == 404
    return perf_counter() - started


async def test_a_strangers_batch_takes_as_long_as_one_that_is_unknown(
    gateway: Gateway, web: Web, batch_id: str
) -> None:
    """However much BOS knows of it, and however long it takes to say so."""
    runs = [run(reason="earlier_run_open") for _ in range(20)]
    web.put(batch(batch_id, "somebody else", "processing_pipelines", *runs))

    foreign, unknown = [], []
    for number in range(8):
        foreign.append(await seconds_of(gateway, batch_id, f"stranger-{number}"))
        unknown.append(await seconds_of(gateway, "unknown", f"stranger-{number}"))

    assert abs(median(foreign) - median(unknown)) < 0.02  # it was 0.045


@pytest.mark.parametrize("name", FORGED)
async def test_an_address_writes_no_header_and_no_line(gateway: Gateway, name: str) -> None:
    for path in (status_path(name), pipelines_path(name)):
        answer = await gateway.client.request(
            "POST" if "pipelines" in path else "GET",
            path,
            headers=bearer() | {"Content-Type": "application/json"},
            content=b'{"requested_pipeline": "nlp"}',
        )
        assert answer.status_code == 422
        assert not {"set-cookie", "x-admin"} & set(answer.headers)

    lines = gateway.audited.getvalue().removesuffix("\n").split("\n")
    assert [json.loads(line)["user_id"] for line in lines] == ["teacher", "teacher"]
    assert all(line.isprintable() for line in lines)


async def test_a_header_writes_no_line_and_no_header(gateway: Gateway) -> None:
    forged = {
        "X-Correlation-ID": '7"\x1b[2J',
        "Idempotency-Key": "\x1b[2J",
        "X-Forwarded-For": "10.0.0.1\x1b[2J",
        "If-None-Match": '"\x1b[2J"',
        "Last-Event-ID": "\x1b[2J",
    }
    headers = {name.encode(): value.encode() for name, value in (forged | bearer()).items()}

    answers = [
        await gateway.client.post(pipelines_path("b"), headers=headers, json={}),
        await gateway.client.get(status_path("b"), headers=headers),
    ]

    for answer in answers:
        assert "\x1b" not in answer.text
        assert not [value for value in answer.headers.values() if "\x1b" in value]
    assert all(line.isprintable() for line in gateway.audited.getvalue().splitlines())


async def failing(gateway: Gateway, web: Web, batch_id: str) -> list[httpx.Response]:
    """Return problems of all kinds, of requests with a secret in body, key and token."""
    web.put(batch(batch_id))
    client, path, body = gateway.client, pipelines_path(batch_id), {"retry_reason": SECRET}
    json_type = {"Content-Type": "application/json"}
    answers = [
        await gateway.post(batch_id, body | {"requested_pipeline": SECRET}),
        await gateway.post(batch_id, body | {"requested_pipeline": "nlp", "is_retry": SECRET}),
        await gateway.post(batch_id, body | {"requested_pipeline": "nlp", "batch_id": SECRET}),
        await client.post(path, content=f'{{"{SECRET}'.encode(), headers=bearer() | json_type),
        await client.post(path, json=body, headers={"Authorization": f"Bearer {SECRET}"}),
        await client.post(path, json=body, headers=bearer(scope=SECRET)),
        await client.post(path, json=body, headers=bearer(exp=1)),
        await client.put(path, json=body, headers=bearer()),
        await client.get(f"/v1/{SECRET}", headers=bearer()),
        await gateway.status("unknown"),
        await gateway.post(batch_id, body | {"requested_pipeline": "nlp"}),  # no Kafka
    ]
    web.broken = (200, f'{{"user_id": "{SECRET}"'.encode())
    return [*answers, await gateway.status(batch_id)]


async def test_no_problem_and_no_line_repeats_a_secret_or_shows_the_inside(
    web: Web,
    batch_id: str,
    log: list[structlog.typing.EventDict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with gateway_app(bos_url=web.url, kafka_send_timeout_seconds=1.1) as gateway:
        answers = await failing(gateway, web, batch_id)

        async def fail(*_: object) -> None:
            raise RuntimeError(INTERNALS)

        monkeypatch.setattr(PipelineRequests, "send", fail)
        answers.append(await gateway.post(batch_id))

    assert {answer.status_code for answer in answers} == {
        *(400, 401, 403, 404, 405, 422, 500, 503),
    }
    for answer in answers:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert SECRET not in answer.text
        assert not [part for part in INTERNALS if part in answer.text]
    lines = gateway.audited.getvalue() + repr([{**one, "exc_info": None} for one in log])
    assert SECRET not in lines
    assert token_of().partition(".")[0] not in lines  # how every token of ours begins


@pytest.mark.parametrize(
    ("path", "status"), [(status_path("batch-1") + "/", 404), ("/docs/", 404), ("/v1/", 401)]
)
async def test_nobody_is_sent_elsewhere(gateway: Gateway, path: str, status: int) -> None:
    """The framework's redirects lead to whatever host a caller names."""
    headers = {"Host": "evil.example"} | (bearer() if status_path("batch-1") in path else {})

    answer = await gateway.client.get(path, headers=headers)

    assert answer.status_code == status
    assert "evil.example" not in str(answer.headers) + answer.text
