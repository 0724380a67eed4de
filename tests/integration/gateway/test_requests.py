"""A click becomes one command on Kafka, or a problem that says why not."""

from typing import Any
from uuid import UUID

import orjson
import pytest

from api_gateway_service.services.pipeline_requests import request_id_of
from common_core.flow import ClientBatchPipelineRequestV1
from common_core.topics import EventName, topic_name
from service_libs.decoding import decode
from tests.support.gateway.app import Commands, Gateway, gateway_app, pipelines_path
from tests.support.gateway.tokens import bearer
from tests.support.gateway.web import Web, batch


def nested(depth: int) -> dict[str, Any]:
    """Return an object so deep."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": [value]} if depth % 2 else {"a": value}
    return value


CORRELATION = "6c1f3a52-9b8e-4d47-a4f0-3e9b1c2d4f55"


async def test_a_click_is_answered_once_kafka_has_it(
    gateway: Gateway, web: Web, commands: Commands, batch_id: str
) -> None:
    web.put(batch(batch_id))

    answer = await gateway.post(
        batch_id,
        {
            "requested_pipeline": "cj_assessment",
            "is_retry": True,
            "retry_reason": "two failed",
            "prompt_payload": {"cms_prompt_ref": {"id": 7, "tags": ["a", None]}},
            "user_id": "somebody else",
        },
        X_Correlation_ID=CORRELATION,
    )
    [envelope] = await commands.until(batch_id)

    assert answer.status_code == 202
    body = answer.json()
    assert body["status"] == "accepted"
    assert (body["batch_id"], body["correlation_id"]) == (batch_id, CORRELATION)
    assert body["links"]["status"] == answer.headers["Location"]
    assert answer.headers["Location"] == f"/v1/batches/{batch_id}/status"
    assert answer.headers["X-Correlation-ID"] == CORRELATION
    assert envelope["event_type"] == topic_name(EventName.CLIENT_BATCH_PIPELINE_REQUEST)
    assert envelope["source_service"] == "api_gateway_service"
    assert envelope["correlation_id"] == CORRELATION
    assert envelope["schema_version"] == 1
    assert envelope["data"] == {
        "batch_id": batch_id,
        "requested_pipeline": "cj_assessment",
        "client_correlation_id": CORRELATION,
        "user_id": "teacher",
        "is_retry": True,
        "retry_reason": "two failed",
        "prompt_payload": {"assignment_id": None, "cms_prompt_ref": {"id": 7, "tags": ["a", None]}},
        "request_id": body["request_id"],
    }


async def test_bos_can_read_what_is_sent(
    gateway: Gateway, web: Web, commands: Commands, batch_id: str
) -> None:
    web.put(batch(batch_id))

    answer = await gateway.post(batch_id)
    [envelope] = await commands.until(batch_id)

    models = {EventName.CLIENT_BATCH_PIPELINE_REQUEST: ClientBatchPipelineRequestV1}
    decoded = decode(envelope["event_type"], orjson.dumps(envelope), models)
    assert str(decoded.data.request_id) == answer.json()["request_id"]


async def test_every_click_without_a_key_is_a_request_of_its_own(
    gateway: Gateway, web: Web, commands: Commands, batch_id: str
) -> None:
    web.put(batch(batch_id))

    answers = [await gateway.post(batch_id) for _ in range(2)]
    sent = await commands.until(batch_id, 2)

    ids = {answer.json()["request_id"] for answer in answers}
    assert len(ids) == 2
    assert {one["data"]["request_id"] for one in sent} == ids


@pytest.mark.parametrize("name", ["nlp", "comprehensive", "spellcheck"])
async def test_pipelines_and_single_steps_may_be_asked_for(
    gateway: Gateway, web: Web, batch_id: str, name: str
) -> None:
    web.put(batch(batch_id))

    answer = await gateway.post(batch_id, {"requested_pipeline": name})

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "requested_pipeline"),
        ({"requested_pipeline": 7}, "requested_pipeline"),
        ({"requested_pipeline": "no-such-pipeline"}, "requested_pipeline"),
        ({"requested_pipeline": "nlp", "is_retry": "yes"}, "is_retry"),
        ({"requested_pipeline": "nlp", "retry_reason": "x" * 501}, "retry_reason"),
        ({"requested_pipeline": "nlp", "retry_reason": "a\0b"}, "retry_reason"),
        ({"requested_pipeline": "nlp", "prompt_payload": {}}, "prompt_payload"),
        (
            {"requested_pipeline": "nlp", "prompt_payload": {"assignment_id": "x" * 101}},
            "prompt_payload.assignment_id",
        ),
        (
            {"requested_pipeline": "nlp", "prompt_payload": {"cms_prompt_ref": {"a": "\0"}}},
            "prompt_payload.cms_prompt_ref",
        ),
        (
            {
                "requested_pipeline": "nlp",
                "prompt_payload": {"assignment_id": "a", "cms_prompt_ref": {}},
            },
            "prompt_payload",
        ),
        (
            {"requested_pipeline": "nlp", "prompt_payload": {"cms_prompt_ref": nested(17)}},
            "prompt_payload.cms_prompt_ref",
        ),
        ([], "body"),
        ("text", "body"),
    ],
)
async def test_what_is_wrong_with_a_body_is_said_by_its_field(
    gateway: Gateway, web: Web, batch_id: str, body: object, field: str
) -> None:
    web.put(batch(batch_id))

    answer = await gateway.post(batch_id, body)

    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_fields"
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]
    assert answer.json()["retryable"] is False


async def test_a_fault_never_repeats_the_input(gateway: Gateway, web: Web, batch_id: str) -> None:
    web.put(batch(batch_id))
    secret = "correct horse battery staple"

    answer = await gateway.post(batch_id, {"requested_pipeline": [secret], "is_retry": secret})

    assert answer.status_code == 422
    assert secret not in answer.text


@pytest.mark.parametrize(
    ("content", "media_type", "status", "code"),
    [
        (b"{", "application/json", 400, "not_json"),
        (b"", "application/json", 400, "not_json"),
        (b'{"requested_pipeline": NaN}', "application/json", 400, "not_json"),
        (b'{"requested_pipeline": "\\ud800"}', "application/json", 400, "not_json"),
        (b"[" * 5000, "application/json", 400, "not_json"),
        (b"\xff\xfe", "application/json", 400, "not_json"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"{}", "", 415, "unsupported_media_type"),
        (b'"' + b"x" * 65536 + b'"', "application/json", 413, "body_too_large"),
    ],
)
async def test_what_is_no_request_is_refused(
    gateway: Gateway, batch_id: str, content: bytes, media_type: str, status: int, code: str
) -> None:
    answer = await gateway.client.post(
        pipelines_path(batch_id),
        content=content,
        headers=bearer() | ({"Content-Type": media_type} if media_type else {}),
    )

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_the_batch_of_the_body_must_be_that_of_the_path(
    gateway: Gateway, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id))

    same = await gateway.post(batch_id, {"requested_pipeline": "nlp", "batch_id": batch_id})
    other = await gateway.post(batch_id, {"requested_pipeline": "nlp", "batch_id": "other"})

    assert same.status_code == 202
    assert (other.status_code, other.json()["code"]) == (400, "batch_id_mismatch")


@pytest.mark.parametrize("name", ["a:b", "a b", "a*", "{a}", "x" * 256, "é"])
async def test_an_id_that_is_none_is_refused(gateway: Gateway, name: str) -> None:
    answer = await gateway.post(name)

    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == ["batch_id"]


async def test_a_strangers_batch_and_an_unknown_one_look_the_same(
    gateway: Gateway, web: Web, commands: Commands, batch_id: str
) -> None:
    web.put(batch(batch_id, user="somebody else"))
    headers = {"X_Correlation_ID": CORRELATION}

    foreign = await gateway.post(batch_id, **headers)
    unknown = await gateway.post("unknown", **headers)
    foreign_status = await gateway.status(batch_id, **headers)
    unknown_status = await gateway.status("unknown", **headers)

    assert foreign.status_code == 404
    assert foreign.content == unknown.content == foreign_status.content == unknown_status.content
    assert set(foreign.headers) == set(unknown.headers)
    assert foreign.headers["Content-Length"] == unknown.headers["Content-Length"]
    assert not commands.of(batch_id)


async def test_each_stranger_costs_one_question_as_one_for_nothing_does(
    gateway: Gateway, web: Web, batch_id: str
) -> None:
    """What is asked is the same, so the time is, too."""
    web.put(batch(batch_id, user="somebody else"))

    for _ in range(2):
        await gateway.post(batch_id)
        await gateway.post("unknown")

    asked = {path.split("/")[-2]: count for path, count in web.asked.items()}
    assert asked == {batch_id: 2, "unknown": 2}


async def test_a_yes_is_remembered(gateway: Gateway, web: Web, batch_id: str) -> None:
    web.put(batch(batch_id))

    for _ in range(3):
        assert (await gateway.post(batch_id)).status_code == 202

    assert web.asked.total() == 1


@pytest.mark.parametrize("harm", ["away", "silent", "broken", "garbled"])
async def test_without_bos_a_click_is_taken_and_bos_decides(
    web: Web, kafka: str, commands: Commands, batch_id: str, harm: str
) -> None:
    web.delay_seconds = 1 if harm == "silent" else 0
    web.broken = {"broken": (500, b"{}"), "garbled": (200, b"<html>")}.get(harm)
    url = "http://127.0.0.1:1" if harm == "away" else web.url

    async with gateway_app(bos_url=url, kafka_bootstrap_servers=kafka) as gateway:
        answer = await gateway.post(batch_id)

    assert answer.status_code == 202
    [envelope] = await commands.until(batch_id)
    assert envelope["data"]["request_id"] == answer.json()["request_id"]


async def test_without_kafka_nothing_is_promised(web: Web, batch_id: str) -> None:
    web.put(batch(batch_id))

    async with gateway_app(bos_url=web.url, kafka_send_timeout_seconds=1.5) as gateway:
        answer = await gateway.post(batch_id)

        assert (answer.status_code, answer.json()["code"]) == (503, "not_acknowledged")
        assert answer.json()["retryable"] is True
        assert int(answer.headers["Retry-After"]) > 0
        assert gateway.sample("gateway_commands_published_total", outcome="not_acknowledged") == 1


def test_a_key_and_a_user_give_one_id() -> None:
    assert request_id_of("a", "k") == request_id_of("a", "k")
    assert request_id_of("a", "k") != request_id_of("b", "k")
    assert request_id_of("a", "1/k") != request_id_of("a1", "k")
    assert request_id_of("a", None) != request_id_of("a", None)
    assert isinstance(request_id_of("a", "k"), UUID)
