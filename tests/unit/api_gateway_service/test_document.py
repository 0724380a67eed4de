"""What the OpenAPI document promises, and the names that dashboards know."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import validator_for
from openapi_spec_validator import validate
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from api_gateway_service.main import make_routes
from api_gateway_service.metrics import Metrics
from api_gateway_service.routing import EVENTS, PIPELINES, STATUS

DOCUMENT: dict[str, Any] = make_routes().openapi()
OPERATIONS = {PIPELINES: "post", STATUS: "get", EVENTS: "get"}

PINNED = {
    "gateway_http_requests_total": ("method", "endpoint", "status_code"),
    "gateway_http_request_duration_seconds": ("method", "endpoint"),
    "gateway_commands_published_total": ("outcome",),
    "gateway_rate_limited_total": ("endpoint", "policy"),
    "gateway_auth_failures_total": ("reason",),
    "gateway_downstream_call_duration_seconds": ("service", "outcome"),
    "gateway_limits_per_process": (),
    "gateway_open_streams": (),
    "gateway_dependency_up": ("dependency",),
    "gateway_circuit_breaker_state": ("dependency",),
    "gateway_task_up": ("task",),
    "gateway_task_restarts_total": ("task",),
    "gateway_dlq_messages_total": ("topic", "reason", "outcome"),
}


def test_the_document_is_openapi() -> None:
    validate(DOCUMENT)


def test_every_operation_names_its_token_and_every_status() -> None:
    statuses = {
        path: set(DOCUMENT["paths"][path][how]["responses"]) for path, how in OPERATIONS.items()
    }

    common = {"401", "403", "404", "405", "413", "422", "429", "500", "503"}
    assert statuses[PIPELINES] == common | {"202", "400", "408", "409", "415"}
    assert statuses[STATUS] == common | {"200", "304"}
    assert statuses[EVENTS] == common | {"200"}
    for path, how in OPERATIONS.items():
        assert DOCUMENT["paths"][path][how]["security"] == [{"bearer": []}]


def examples() -> list[tuple[str, dict[str, Any], Any]]:
    """Return every example with its schema."""
    found = []
    for path, operations in DOCUMENT["paths"].items():
        for how, operation in operations.items():
            bodies = [("asked", operation.get("requestBody", {}).get("content", {}))]
            bodies += [(s, r.get("content", {})) for s, r in operation["responses"].items()]
            for name, content in bodies:
                for media in content.values():
                    shown = {**media.get("examples", {})}
                    if "example" in media:
                        shown["example"] = {"value": media["example"]}
                    found += [
                        (f"{how} {path} {name} {key}", media["schema"], one["value"])
                        for key, one in shown.items()
                    ]
    return found


@pytest.mark.parametrize(("name", "schema", "value"), examples(), ids=lambda one: str(one)[:80])
def test_every_example_is_of_its_schema(name: str, schema: dict[str, Any], value: object) -> None:
    del name

    validator_for(schema | {"components": DOCUMENT["components"]}).validate(value)


def test_there_is_an_example_of_every_error() -> None:
    for path, how in OPERATIONS.items():
        for status, response in DOCUMENT["paths"][path][how]["responses"].items():
            if int(status) >= 400:
                assert response["content"]["application/problem+json"]["examples"]


def test_the_command_prints_it_without_any_setting() -> None:
    printed = subprocess.run(
        [Path(sys.executable).with_name("api-gateway"), "openapi"], check=True, capture_output=True
    )

    assert json.loads(printed.stdout) == DOCUMENT


def test_names_and_labels_of_metrics_are_an_api() -> None:
    metrics = Metrics(CollectorRegistry())

    named = {
        metric._name + ("_total" if metric._type == "counter" else ""): tuple(metric._labelnames)
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
    }

    assert named == PINNED
