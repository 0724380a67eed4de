"""What the README says of the gateway is so."""

import inspect
import json
import re
from enum import Enum
from http import HTTPStatus
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from api_gateway_service import exceptions, routing
from api_gateway_service.config import Settings
from api_gateway_service.models import errors
from api_gateway_service.startup_setup import initialize_metrics
from service_libs.exceptions import ServiceError

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.split("\n## The gateway\n")[1].split("\n## ")[0]
UNUSED = {"gateway_dlq_messages_total"}  # every service has it, and this one has no dead letters


def described(value: object) -> str:
    """Return a default as the table has it."""
    match value:
        case None | "":
            return "(unset)"
        case SecretStr():
            return described(value.get_secret_value())
        case bool():
            return f"`{str(value).lower()}`"
        case Enum():
            return f"`{value.value}`"
        case tuple():
            return f"`{json.dumps(value)}`"
    return f"`{value}`"


def test_the_table_of_settings_is_the_settings() -> None:
    table = SECTION.split("<!-- gateway settings -->")[1].split("<!-- /gateway settings -->")[0]

    assert table.strip().splitlines()[2:] == [
        f"| `API_GATEWAY_{name.upper()}` | {described(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


def test_every_route_is_in_the_table_with_its_scope() -> None:
    table = SECTION.split("| route | token's scope | purpose |")[1].split("\n\n")[0]
    rows = [row.split("|") for row in table.splitlines() if row.startswith("| `")]
    told = {
        path: re.findall(r"`([^`]+)`", scope)
        for _, routes, scope, *_ in rows
        for path in re.findall(r"`(?:GET |POST )?(/[^`]+)`", routes)
    }

    protected = (routing.PIPELINES, routing.STATUS, routing.EVENTS)
    assert told == {
        **{path: [routing.MatchedRoute(path).scope] for path in protected},
        **{path: [] for path in routing.OPERATING},
    }


def test_every_error_is_in_the_table_with_its_status() -> None:
    table = SECTION.split("| status | codes |")[1].split("\n\n")[0]
    told = {
        (int(row[1]), code)
        for row in (line.split("|") for line in table.splitlines()[2:])
        for code in re.findall(r"`([a-z_]+)`", row[2])
    }

    ours = {
        (errors.status_of(kind("")).value, kind.code)
        for _, kind in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(kind, ServiceError) and kind.__module__ == exceptions.__name__
    }
    of_the_framework = {
        (HTTPStatus.NOT_FOUND, "not_found"),
        (HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed"),
        (HTTPStatus.INTERNAL_SERVER_ERROR, ServiceError.code),
    }
    assert told - {(422, "errors")} == ours | of_the_framework


@pytest.mark.parametrize("status", sorted(errors.RETRYABLE))
def test_a_status_that_is_retryable_is_said_to_be(status: HTTPStatus) -> None:
    [row] = re.findall(rf"^\| {status.value} \| .*$", SECTION, re.MULTILINE)

    assert row.endswith("retryable |")


def test_every_metric_is_in_the_table() -> None:
    registry = CollectorRegistry()
    initialize_metrics(registry)
    ours = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in registry.collect()
        if family.name.startswith("gateway_")
    }
    table = SECTION.split("### Its metrics")[1]

    assert set(re.findall(r"`(gateway_[a-z_]+)`", table)) == ours - UNUSED


def test_the_numbers_of_the_limits_are_the_defaults() -> None:
    fields = Settings.model_fields
    told = re.findall(
        r"\| (\d+) pipelines in 10 s and (\d+) a minute, (\d+) statuses, (\d+) of every", SECTION
    )

    names = ("pipelines_burst", "pipelines_per_minute", "status_per_minute", "requests")
    assert told == [tuple(str(fields[f"rate_limit_{name}"].default) for name in names)]
