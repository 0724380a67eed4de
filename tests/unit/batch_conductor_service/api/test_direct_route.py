"""`define` is answered past the framework; nobody must be able to tell."""

from typing import cast

import orjson
import pytest

from common_core.define import DefineResponse
from service_libs.exceptions import OverloadedError, StoreUnavailableError
from service_libs.http.app import ServiceApp
from tests.support.api import DEFINE, TestedApp
from tests.support.builders import evidence, registration, update

TOKEN = "t" * 32
QUESTION = {"batch_id": "batch-1", "requested_pipeline": "cj_assessment", "correlation_id": "c-1"}
GOOD = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
JSON = orjson.dumps(QUESTION)

CASES: dict[str, tuple[dict[str, str], bytes, Exception | None]] = {
    "answered": (GOOD, JSON, None),
    "with parameters": (GOOD | {"content-type": "Application/JSON; charset=utf-8"}, JSON, None),
    "with the essays": (GOOD, orjson.dumps(QUESTION | {"include": ["essays"]}), None),
    "no token": ({"content-type": "application/json"}, JSON, None),
    "another token": (GOOD | {"authorization": "Bearer other"}, JSON, None),
    "another kind of token": (GOOD | {"authorization": f"Basic {TOKEN}"}, JSON, None),
    "no JSON": (GOOD | {"content-type": "text/plain"}, JSON, None),
    "broken JSON": (GOOD, b"{", None),
    "a missing field": (GOOD, b"{}", None),
    "an unknown pipeline": (GOOD, orjson.dumps(QUESTION | {"requested_pipeline": "x"}), None),
    "no body": (GOOD, b"", None),
    "a long body": (GOOD, b" " * 1024 * 1024 + JSON, None),
    "framed twice": (GOOD | {"transfer-encoding": "chunked"}, JSON, None),
    "a header that is no id": (GOOD | {"x-correlation-id": "c " * 200}, b"{}", None),
    "no store": (GOOD, JSON, StoreUnavailableError()),
    "no room": (GOOD, JSON, OverloadedError()),
    "a fault of ours": (GOOD, JSON, ZeroDivisionError("secret")),
}


@pytest.mark.parametrize("case", CASES)
async def test_it_is_answered_as_the_framework_would(case: str) -> None:
    direct, through = [await ask(case, is_direct=way) for way in (True, False)]

    assert direct == through


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_the_framework_s(tested: TestedApp, method: str) -> None:
    response = await tested.client.open(DEFINE, method=method, json={})

    assert response.status_code == (200 if method == "OPTIONS" else 405)
    assert set(response.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}


@pytest.mark.parametrize("include", [[], ["essays"]])
async def test_the_answer_is_written_as_its_model_is(tested: TestedApp, include: list[str]) -> None:
    await tested.repository.apply([update("batch-1", registration(1), evidence("essay-1"))])

    answer = await (await tested.define(include=include)).get_data(as_text=False)

    model = DefineResponse.model_validate_json(answer, strict=True)
    assert answer == model.model_dump_json(exclude_unset=True).encode()


async def ask(case: str, *, is_direct: bool) -> tuple[object, ...]:
    """Return all that a caller and the metrics see, but times and made-up ids."""
    headers, body, error = CASES[case]
    tested = TestedApp(service_token=TOKEN)
    try:
        await tested.repository.apply([update("batch-1", registration(1), evidence("essay-1"))])
        tested.repository.error = error
        if not is_direct:
            cast("ServiceApp", tested.app)._direct.clear()
        response = await tested.client.post(DEFINE, headers=headers, data=body)
        said = await response.get_json()
        shown = {name.lower(): value for name, value in response.headers.items()}
        if "x-correlation-id" in shown and shown["x-correlation-id"] != "c-1":
            assert said.pop("correlation_id") == shown.pop("x-correlation-id")
        said.pop("known_until", None)
        shown.pop("content-length")  # of an id, or a time, of another length
        counted = await tested.sample(
            "bcs_http_requests_total",
            method="POST",
            endpoint=DEFINE,
            status_code=str(response.status_code),
        )
        return response.status_code, shown, said, counted
    finally:
        await tested.container.close()
