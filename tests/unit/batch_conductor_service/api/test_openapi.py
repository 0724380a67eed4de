"""What the OpenAPI document says is what the application does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema_rs import validator_for
from quart import Response

from batch_conductor_service.api.examples import (
    BATCH_EXAMPLES,
    CORRELATION_ID,
    DEFINE_EXAMPLES,
    HEALTH_EXAMPLES,
    Example,
)
from batch_conductor_service.exceptions import PrerequisiteMissingError
from service_libs.exceptions import StoreUnavailableError
from service_libs.health import HealthMonitor
from tests.support.api import DEFINE, TestedApp
from tests.support.builders import evidence, registration, update

BATCH = "/internal/v1/batches/{batch_id}"
SETTINGS: Mapping[str, dict[str, object]] = {
    "unauthorized": {"service_token": "s3cret"},
    "request_timeout": {"http_timeout": 5.05},
    "deadline_exceeded": {"http_timeout": 5.05},
    "overloaded": {"max_concurrent_requests": 1},
}
ERRORS = {
    "prerequisite_missing": PrerequisiteMissingError("nlp", "spellcheck"),
    "internal_error": ZeroDivisionError(),
    "state_unavailable": StoreUnavailableError(),
}


async def arrange(tested: TestedApp, name: str) -> asyncio.Task[Response] | None:
    """Bring about what the example of that name tells of."""
    tested.repository.error = ERRORS.get(name)
    if name == "spellcheck_complete":
        at = datetime(2025, 6, 1, 12, tzinfo=UTC)
        done = evidence("essay-1", at=at, storage_id="text-1")
        await tested.repository.apply([update("batch-1", registration(1, at), done)])
    if name in {"deadline_exceeded", "overloaded"}:
        tested.repository.may_answer.clear()
    if name == "overloaded":
        taking_the_place = asyncio.create_task(tested.define())
        await tested.repository.has_been_asked.wait()
        return taking_the_place
    return None


async def ask(tested: TestedApp, example: Example) -> Response:
    """Ask what is to be answered as in the example."""
    headers = {"X-Correlation-ID": CORRELATION_ID}
    match example.name:
        case "body_too_large":
            headers["Content-Type"] = "application/json"
            return await tested.client.post(DEFINE, data=b" " * 2_000_000, headers=headers)
        case "unsupported_media_type":
            return await tested.client.post(DEFINE, data=b"{}", headers=headers)
        case "request_timeout":
            headers["Content-Type"] = "application/json"
            async with tested.client.request(DEFINE, method="POST", headers=headers) as connection:
                await connection.send(b"{")  # and no more; leaving waits for the answer
            return await connection.as_response()
        case _:
            return await tested.client.post(DEFINE, json=example.question, headers=headers)


async def show(tested: TestedApp, example: Example) -> Response:
    path = BATCH.format(**example.question)
    return await tested.client.get(path, headers={"X-Correlation-ID": CORRELATION_ID})


def assert_holds(example: object, answer: object) -> None:
    """Check that all of the example is in the answer, which may have more fields."""
    if isinstance(example, Mapping) and isinstance(answer, Mapping):
        for name, value in example.items():
            assert_holds(value, answer[name])
    elif isinstance(example, list) and isinstance(answer, list):
        assert len(example) == len(answer)
        for one, other in zip(example, answer, strict=True):
            assert_holds(one, other)
    else:
        assert example == answer


async def document_of(tested: TestedApp) -> dict[str, Any]:
    document: dict[str, Any] = await (await tested.client.get("/openapi.json")).get_json()
    return document


async def assert_documented(
    tested: TestedApp, route: Mapping[str, Any], response: Response
) -> None:
    """Check the answer's body, content type and headers against what the document says."""
    described = route["responses"][str(response.status_code)]
    ((content_type, content),) = described["content"].items()
    assert response.content_type == content_type
    components = (await document_of(tested))["components"]
    schema = content["schema"] | {"components": components}
    validator_for(schema).validate(await response.get_json())
    for name, header in described["headers"].items():
        declared = components["headers"][header["$ref"].rpartition("/")[2]]
        value: str | int | None = response.headers.get(name)
        assert value is not None or not declared.get("required")
        if value is not None and declared["schema"].get("type") == "integer":
            value = int(value)
        validator_for(declared["schema"]).validate(value)


async def check(
    path: str,
    method: str,
    example: Example,
    question: Callable[[TestedApp, Example], Awaitable[Response]],
) -> None:
    tested = TestedApp(**SETTINGS.get(example.name, {}))
    before = await arrange(tested, example.name)

    response = await question(tested, example)

    assert response.status_code == example.status
    assert_holds(example.answer, await response.get_json())
    await assert_documented(tested, (await document_of(tested))["paths"][path][method], response)
    tested.repository.may_answer.set()
    if before:
        assert (await before).status_code == 200
    await tested.container.close()


@pytest.mark.parametrize("example", DEFINE_EXAMPLES, ids=lambda one: one.name)
async def test_every_example_of_define_is_answered_so(example: Example) -> None:
    await check(DEFINE, "post", example, ask)


@pytest.mark.parametrize("example", BATCH_EXAMPLES, ids=lambda one: one.name)
async def test_every_example_of_a_batch_is_answered_so(example: Example) -> None:
    await check(BATCH, "get", example, show)


@pytest.mark.parametrize("path", HEALTH_EXAMPLES)
async def test_every_example_of_health_is_answered_so(tested: TestedApp, path: str) -> None:
    async with tested.app.test_app() as served:
        response = await served.test_client().get(path)
        route = (await document_of(tested))["paths"][path]["get"]
        await assert_documented(tested, route, response)

    assert response.status_code == HEALTH_EXAMPLES[path].status
    assert_holds(HEALTH_EXAMPLES[path].answer, await response.get_json())


async def test_a_service_that_is_not_ready_or_not_alive_says_so_as_described(
    tested: TestedApp,
) -> None:
    routes = (await document_of(tested))["paths"]
    (await tested.container.get(HealthMonitor)).begin_shutdown()
    not_ready = await tested.client.get("/readyz")
    unwatched = await TestedApp().client.get("/livez")

    assert (not_ready.status_code, unwatched.status_code) == (503, 503)
    await assert_documented(tested, routes["/readyz"]["get"], not_ready)
    await assert_documented(tested, routes["/livez"]["get"], unwatched)


async def test_every_route_is_described(tested: TestedApp) -> None:
    document = await document_of(tested)

    assert document["openapi"] == "3.1.0"
    rules = [rule.rule for rule in tested.app.url_map.iter_rules()]
    assert set(document["paths"]) == {rule.replace("<", "{").replace(">", "}") for rule in rules}
    fields = document["components"]["schemas"]["DefineRequest"]["properties"]
    assert fields["batch_id"]["maxLength"] == 255
    assert fields["requested_pipeline"]["maxLength"] == 100


async def test_every_code_of_every_status_has_an_example(tested: TestedApp) -> None:
    document = await document_of(tested)

    define = document["paths"][DEFINE]["post"]["responses"]
    assert set(define) == {
        *("200", "400", "401", "404", "408", "409", "413", "415", "500", "503"),
    }
    for responses in (define, document["paths"][BATCH]["get"]["responses"]):
        for response in responses.values():
            ((_, content),) = response["content"].items()
            assert content["examples"]
            assert "X-Correlation-ID" in response["headers"]
        assert "Retry-After" in responses["503"]["headers"]


async def test_every_reference_leads_somewhere(tested: TestedApp) -> None:
    text = await (await tested.client.get("/openapi.json")).get_data(as_text=True)
    document = await document_of(tested)

    for kind in ("schemas", "headers"):
        named = {part.split('"')[0] for part in text.split(f"#/components/{kind}/")[1:]}
        assert named
        assert named <= set(document["components"][kind])
