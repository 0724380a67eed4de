from typing import Any

import pytest

from tests.support.api import DEFINE, TestedApp, assert_problem

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"batch_id": ""}, "batch_id"),
        ({"batch_id": "   "}, "batch_id"),
        ({"batch_id": "b" * 256}, "batch_id"),
        ({"batch_id": "a:b"}, "batch_id"),
        ({"batch_id": "batch*"}, "batch_id"),
        ({"batch_id": "{batch}"}, "batch_id"),
        ({"batch_id": "bätch"}, "batch_id"),
        ({"batch_id": 7}, "batch_id"),
        ({"batch_id": None}, "batch_id"),
        ({"requested_pipeline": ""}, "requested_pipeline"),
        ({"requested_pipeline": "p" * 101}, "requested_pipeline"),
        ({"requested_pipeline": ["nlp"]}, "requested_pipeline"),
        ({"correlation_id": ""}, "correlation_id"),
        ({"correlation_id": "c" * 101}, "correlation_id"),
        ({"batch_metadata": "none"}, "batch_metadata"),
        ({"not_before": "2026-11-26"}, "not_before"),
        ({"not_before": "2026-W48-4T12:00:00Z"}, "not_before"),
        ({"not_before": "12:00:00Z"}, "not_before"),
        ({"not_before": "2026-11-26T25:00:00Z"}, "not_before"),
        ({"not_before": "2026-13-26T12:00:00Z"}, "not_before"),
        ({"not_before": "yesterday"}, "not_before"),
        ({"not_before": ""}, "not_before"),
        ({"not_before": 1_795_694_400}, "not_before"),
        ({"not_before": {}}, "not_before"),
    ],
)
async def test_a_field_out_of_its_limits_is_named(
    tested: TestedApp, fields: dict[str, Any], field: str
) -> None:
    response = await tested.define(**fields)

    body = await response.get_json()
    assert_problem(response, body, 400, "invalid_request")
    assert [error["field"] for error in body["errors"]] == [field]
    assert body["errors"][0]["message"]


@pytest.mark.parametrize("batch_id", ["b", "b" * 255, "A-1_2.3~4@5+6=7"])
async def test_a_batch_id_within_its_limits_is_taken(tested: TestedApp, batch_id: str) -> None:
    assert (await tested.define(batch_id=batch_id)).status_code == 200


async def test_all_missing_fields_are_named_at_once(tested: TestedApp) -> None:
    response = await tested.client.post(DEFINE, json={})

    body = await response.get_json()
    assert [error["field"] for error in body["errors"]] == ["batch_id", "requested_pipeline"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'"batch-1"',
        b"null",
        b'{"batch_id": "\\ud800", "requested_pipeline": "nlp"}',
        b"[" * 100_000,
    ],
)
async def test_what_is_not_a_json_object_is_refused(tested: TestedApp, data: bytes) -> None:
    response = await tested.client.post(DEFINE, data=data, headers=JSON)

    body = await response.get_json()
    assert_problem(response, body, 400, "invalid_request")
    assert [error["field"] for error in body["errors"]] == ["body"]


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": ";"}])
async def test_another_content_type_is_refused(tested: TestedApp, headers: dict[str, str]) -> None:
    response = await tested.client.post(DEFINE, data=b"{}", headers=headers)

    assert_problem(response, await response.get_json(), 415, "unsupported_media_type")


@pytest.mark.parametrize("padding", [1024 * 1024, 20 * 1024 * 1024])
async def test_a_body_over_a_mebibyte_is_refused(tested: TestedApp, padding: int) -> None:
    response = await tested.client.post(DEFINE, data=b"{" + b" " * padding, headers=JSON)

    assert_problem(response, await response.get_json(), 413, "body_too_large")


async def test_a_body_of_just_a_mebibyte_is_taken(tested: TestedApp) -> None:
    question = b'{"batch_id": "b", "requested_pipeline": "nlp"}'

    response = await tested.client.post(DEFINE, data=question.ljust(1024 * 1024), headers=JSON)

    assert response.status_code == 200


async def test_another_method_is_refused_and_the_right_one_named(tested: TestedApp) -> None:
    response = await tested.client.get(DEFINE)

    assert_problem(response, await response.get_json(), 405, "method_not_allowed")
    assert "POST" in response.headers["Allow"]


async def test_an_unknown_route_is_a_problem_too(tested: TestedApp) -> None:
    response = await tested.client.get("/nowhere")

    assert_problem(response, await response.get_json(), 404, "not_found")
    unmatched = {"method": "GET", "endpoint": "unmatched", "status_code": "404"}
    assert await tested.sample("bcs_http_requests_total", **unmatched) == 1


async def test_a_method_nobody_knows_makes_no_label(tested: TestedApp) -> None:
    await tested.client.open("/nowhere", method="BREW", json=None)

    other = {"method": "OTHER", "endpoint": "unmatched", "status_code": "404"}
    assert await tested.sample("bcs_http_requests_total", **other) == 1


async def test_a_bad_request_is_not_a_failed_resolution(tested: TestedApp) -> None:
    """It is the caller's to repair: it is neither counted as a failure nor dead-lettered."""
    await tested.define(batch_id="a:b")

    assert not tested.announcer.failures
    unknown = {"status": "failure", "pipeline": "unknown"}
    assert await tested.sample("bcs_pipeline_resolutions_total", **unknown) == 0


async def test_the_message_does_not_repeat_what_was_sent(tested: TestedApp) -> None:
    response = await tested.define(batch_id="<script>alert(1)</script>")

    assert b"script" not in await response.get_data()
