"""Whatever a caller sends, the answer is one that the service's own OpenAPI document has."""

import json
import signal
from collections.abc import Iterator
from urllib.parse import quote_from_bytes

import httpx
import pytest
import schemathesis
from hypothesis import example, given
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.support.api import DEFINE
from tests.support.fuzzing import (
    STRANGE_JSON,
    check_answer,
    documented,
    header_values,
    json_values,
    mutated_json,
    tries,
)
from tests.support.processes import serving_process

QUESTION = json.dumps(
    {
        "batch_id": "batch-1",
        "requested_pipeline": "cj_assessment",
        "correlation_id": "correlation-1",
        "batch_metadata": {"essays_total": 3, "prompt_attached": True},
    }
).encode()
OPERATIONS = (("POST", DEFINE), ("GET", "/internal/v1/batches/{batch_id}"))
content_types = st.sampled_from(
    ["application/json", "application/json; charset=utf-16", "APPLICATION/JSON;", "text/json"]
)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A caller of the service, which runs as a process: nothing is there that a caller has not."""
    with (
        serving_process() as (process, address),
        httpx.Client(base_url=address) as client,
    ):
        yield client
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        assert not [line for line in process.log if line["level"] in {"error", "critical"}]


@pytest.fixture(scope="module")
def schema(client: httpx.Client) -> schemathesis.BaseSchema:
    """What the service says of itself."""
    return schemathesis.openapi.from_url(str(client.base_url.join("/openapi.json")))


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@tries(25)
@given(st.data())
def test_answers_are_those_of_the_document(
    schema: schemathesis.BaseSchema,
    method: str,
    path: str,
    mode: GenerationMode,
    data: st.DataObject,
) -> None:
    case = data.draw(schema[path][method].as_strategy(mode))

    case.call_and_validate()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez", "/metrics", "/openapi.json"])
def test_the_other_routes_answer_as_in_the_document(
    schema: schemathesis.BaseSchema, path: str
) -> None:
    schema[path]["GET"].Case().call_and_validate()


@pytest.mark.parametrize("body", STRANGE_JSON, ids=lambda body: repr(body[:20]))
def test_every_body_of_the_corpus_is_refused(
    client: httpx.Client, schema: schemathesis.BaseSchema, body: bytes
) -> None:
    response = client.post(DEFINE, content=body, headers={"Content-Type": "application/json"})

    check_answer(response, documented(schema, "POST", DEFINE))
    assert response.status_code == 400


@tries(80)
@given(
    body=st.binary() | json_values | mutated_json(st.just(QUESTION)),
    content_type=content_types | header_values,
    correlation=header_values,
    authorization=header_values,
)
@example(QUESTION.replace(b"3", b"9" * 4_000), "application/json", "", "")
@example(QUESTION.replace(b"3", b"9" * 5_000), "application/json", "", "")
def test_any_body_with_any_headers_has_a_documented_answer(
    client: httpx.Client,
    schema: schemathesis.BaseSchema,
    body: bytes,
    content_type: str,
    correlation: str,
    authorization: str,
) -> None:
    headers = [
        (b"Content-Type", content_type.encode("latin-1")),
        (b"X-Correlation-ID", correlation.encode("latin-1")),
        (b"Authorization", authorization.encode("latin-1")),
    ]

    response = client.post(DEFINE, content=body, headers=headers)

    check_answer(response, documented(schema, "POST", DEFINE))


@tries(80)
@given(
    batch=st.binary(max_size=300),
    query=st.binary(max_size=20),
    method=st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"]),
)
@example(batch=b"/twice", query=b"", method="PUT")
@example(batch=b"/twice", query=b"", method="GET")
def test_any_path_has_an_answer(
    client: httpx.Client, batch: bytes, query: bytes, method: str
) -> None:
    url = f"/internal/v1/batches/{quote_from_bytes(batch)}?{quote_from_bytes(query)}"

    response = client.request(method, url)

    if method == "HEAD":
        assert response.status_code in {200, 400, 404}
    elif not (method == "OPTIONS" and response.is_success):
        check_answer(response, {"200", "400", "404", "405"})
