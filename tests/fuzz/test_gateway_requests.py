"""Whatever a caller sends the gateway, the answer is one that its OpenAPI document has."""

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import quote_from_bytes

import httpx
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from api_gateway_service.implementations.kafka_publisher_impl import TOPIC
from api_gateway_service.routing import PIPELINES, STATUS
from tests.support.fuzzing import (
    PROBLEM,
    STRANGE_JSON,
    check_answer,
    documented,
    header_values,
    json_values,
    mutated_json,
    tries,
)
from tests.support.gateway.app import GENEROUS, pipelines_path, status_path
from tests.support.gateway.process import gateway_process
from tests.support.gateway.tokens import bearer
from tests.support.gateway.web import batch, served_web
from tests.support.topics import ensure_topics

OPERATIONS = (("POST", PIPELINES), ("GET", STATUS))
UNLIMITED = {
    "RATE_LIMIT_REQUESTS": GENEROUS,
    "RATE_LIMIT_PIPELINES_PER_MINUTE": GENEROUS,
    "RATE_LIMIT_PIPELINES_BURST": GENEROUS,
    "RATE_LIMIT_STATUS_PER_MINUTE": GENEROUS,
    "RATE_LIMIT_AUTH_FAILURES_PER_MINUTE": GENEROUS,
}
REQUEST = json.dumps(
    {
        "requested_pipeline": "cj_assessment",
        "is_retry": True,
        "retry_reason": "two failed",
        "prompt_payload": {"cms_prompt_ref": {"id": [1, None, "a"]}},
        "batch_id": "batch-1",
    }
).encode()

# Which pipelines there are stands in a file, so not every name of the right form is taken; and the
# check that authentication is not ignored would send our token again (`test_auth.py` does without).
NOT_IN_THE_SCHEMA = [positive_data_acceptance, ignored_auth]


@pytest.fixture(scope="module")
def client(kafka_bootstrap_servers: str) -> Iterator[httpx.Client]:
    """A caller with a good token, of the gateway as a process, over BOS and Kafka."""
    asyncio.run(ensure_topics(kafka_bootstrap_servers, TOPIC))
    with served_web() as web:
        web.put(batch("batch-1"))
        places = {"BOS_URL": web.url, "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers}
        with (
            gateway_process(**places, **UNLIMITED) as (process, address),
            httpx.Client(base_url=address, headers=bearer(exp=2**33)) as client,
        ):
            yield client
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
    client: httpx.Client,
    schema: schemathesis.BaseSchema,
    method: str,
    path: str,
    mode: GenerationMode,
    data: st.DataObject,
) -> None:
    case = data.draw(schema[path][method].as_strategy(mode))

    case.call_and_validate(headers=dict(client.headers), excluded_checks=NOT_IN_THE_SCHEMA)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez", "/metrics"])
def test_the_other_routes_answer_as_in_the_document(
    schema: schemathesis.BaseSchema, path: str
) -> None:
    schema[path]["GET"].Case().call_and_validate()


@pytest.mark.parametrize("body", STRANGE_JSON, ids=lambda body: repr(body[:20]))
def test_every_body_of_the_corpus_is_refused(
    client: httpx.Client, schema: schemathesis.BaseSchema, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}

    response = client.post(pipelines_path("batch-1"), content=body, headers=headers)

    check_answer(response, documented(schema, "POST", PIPELINES))
    assert response.status_code in {400, 413, 422}


@tries(80)
@given(
    body=st.binary() | json_values | mutated_json(st.just(REQUEST)),
    content_type=st.sampled_from(["application/json", "APPLICATION/JSON;"]) | header_values,
    key=header_values,
    correlation=header_values,
)
def test_any_body_with_any_headers_has_a_documented_answer(
    client: httpx.Client,
    schema: schemathesis.BaseSchema,
    body: bytes,
    content_type: str,
    key: str,
    correlation: str,
) -> None:
    headers = [
        (b"Content-Type", content_type.encode("latin-1")),
        (b"Idempotency-Key", key.encode("latin-1")),
        (b"X-Correlation-ID", correlation.encode("latin-1")),
    ]

    response = client.post(pipelines_path("batch-1"), content=body, headers=headers)

    check_answer(response, documented(schema, "POST", PIPELINES))


@tries(80)
@given(authorization=header_values, tag=header_values, forwarded=header_values)
def test_no_header_brings_it_down(
    client: httpx.Client,
    schema: schemathesis.BaseSchema,
    authorization: str,
    tag: str,
    forwarded: str,
) -> None:
    known = (b"If-None-Match", tag.encode("latin-1"))
    headers = [
        (b"Authorization", authorization.encode("latin-1")),
        (b"X-Forwarded-For", forwarded.encode("latin-1")),
        known,
    ]

    refused = client.get(status_path("batch-1"), headers=headers)
    shown = client.get(status_path("batch-1"), headers=[known])

    check_answer(refused, documented(schema, "GET", STATUS))
    check_answer(shown, documented(schema, "GET", STATUS))
    assert refused.status_code == 401


@tries(80)
@given(
    batch_id=st.binary(max_size=300),
    query=st.binary(max_size=20),
    method=st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"]),
)
def test_any_path_has_an_answer(
    client: httpx.Client, batch_id: bytes, query: bytes, method: str
) -> None:
    url = f"/v1/batches/{quote_from_bytes(batch_id)}/status?{quote_from_bytes(query)}"

    response = client.request(method, url)

    assert response.status_code in {200, 400, 404, 405, 422}
    if response.status_code != 200 and method != "HEAD":
        assert response.headers["Content-Type"] == PROBLEM
