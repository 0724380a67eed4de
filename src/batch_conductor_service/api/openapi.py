"""The OpenAPI document, made from the schemas that the routes themselves use."""

from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from quart import Blueprint

from batch_conductor_service.api.examples import (
    BATCH_EXAMPLES,
    DEFINE_EXAMPLES,
    HEALTH_EXAMPLES,
    Example,
)
from common_core.define import BatchPath, BatchResponse, DefineRequest, DefineResponse
from common_core.problem import PROBLEM_TYPE, Problem
from service_libs.health_report import Health, Liveness, Readiness

blueprint = Blueprint("openapi", __name__)

Document = dict[str, Any]

_REFERENCE = "#/components/schemas/{model}"
_JSON = "application/json"
_CORRELATION = {"X-Correlation-ID": {"$ref": "#/components/headers/X-Correlation-ID"}}
_HEADERS_BY_STATUS = {
    HTTPStatus.UNAUTHORIZED: ["WWW-Authenticate"],
    HTTPStatus.SERVICE_UNAVAILABLE: ["Retry-After"],
}
_MODELS: dict[str, type[BaseModel]] = {
    "/healthz": Health,
    "/readyz": Readiness,
    "/livez": Liveness,
}


@blueprint.get("/openapi.json")
async def openapi() -> Document:
    """Show how to call the routes."""
    return _document()


@cache
def _document() -> Document:
    answers = (DefineResponse, BatchResponse, Problem, Health, Readiness, Liveness)
    _, definitions = models_json_schema(
        [
            (DefineRequest, "validation"),
            (BatchPath, "validation"),
            *((model, "serialization") for model in answers),
        ],
        ref_template=_REFERENCE,
    )
    schemas = definitions["$defs"]
    batch_id = schemas["BatchPath"]["properties"]["batch_id"]
    correlation_id = schemas["DefineRequest"]["properties"]["correlation_id"]["anyOf"][0]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Batch Conductor Service", "version": version("batch-conductor-service")},
        "paths": {
            "/internal/v1/pipelines/define": {"post": _define()},
            "/internal/v1/batches/{batch_id}": {"get": _show_batch(batch_id)},
            **{path: {"get": _health(path)} for path in HEALTH_EXAMPLES},
            "/metrics": {"get": _plain("Every metric of the process", CONTENT_TYPE_PLAIN_0_0_4)},
            "/openapi.json": {"get": _plain("This document", _JSON)},
        },
        "components": {
            "schemas": schemas,
            "headers": _headers(correlation_id),
            "securitySchemes": {"service_token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _headers(correlation_id: Document) -> Document:
    return {
        "X-Correlation-ID": {
            "description": "The id of the body, else of the request's header, else a new one; "
            "absent where a header cannot carry it as it is.",
            "schema": correlation_id,
        },
        "Retry-After": {
            "description": "Seconds; before that the answer would be the same.",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        },
        "WWW-Authenticate": {"required": True, "schema": {"type": "string"}},
    }


def _define() -> Document:
    asked = {
        one.name: {"value": one.question} for one in DEFINE_EXAMPLES if one.status is HTTPStatus.OK
    }
    return {
        "summary": "Which steps of a pipeline are still to run for a batch, and in which order",
        "operationId": "define",
        "security": [{}, {"service_token": []}],
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": _ref(DefineRequest), "examples": asked}},
        },
        "responses": _responses(DefineResponse, DEFINE_EXAMPLES),
    }


def _show_batch(identifier: Document) -> Document:
    return {
        "summary": "What is known of a batch",
        "operationId": "show_batch",
        "security": [{}, {"service_token": []}],
        "parameters": [
            {
                "name": "batch_id",
                "in": "path",
                "required": True,
                "schema": identifier,
                "example": "batch-1",
            }
        ],
        "responses": _responses(BatchResponse, BATCH_EXAMPLES),
    }


def _health(path: str) -> Document:
    model, example = _MODELS[path], HEALTH_EXAMPLES[path]
    responses = _responses(model, [example])
    bad = {"content": {_JSON: {"schema": _ref(model)}}, "headers": _CORRELATION}
    responses["503"] = {"description": "It is not.", **bad}
    return {"summary": (model.__doc__ or "").rstrip("."), "responses": responses}


def _plain(summary: str, content_type: str) -> Document:
    shown = {"description": "The answer.", "content": {content_type: {}}, "headers": _CORRELATION}
    return {"summary": summary, "responses": {"200": shown}}


def _responses(answer: type[BaseModel], examples: Iterable[Example]) -> Document:
    """Return the answers by status, each with its body, headers, and an example of each code."""
    responses: Document = {}
    for example in examples:
        is_problem = example.status >= HTTPStatus.BAD_REQUEST
        content_type, model = (PROBLEM_TYPE, Problem) if is_problem else (_JSON, answer)
        response = responses.setdefault(
            str(example.status.value),
            {
                "description": example.status.phrase,
                "headers": _CORRELATION | _further_headers(example.status),
                "content": {content_type: {"schema": _ref(model), "examples": {}}},
            },
        )
        response["content"][content_type]["examples"][example.name] = {"value": example.answer}
    return dict(sorted(responses.items()))


def _further_headers(status: HTTPStatus) -> Document:
    names = _HEADERS_BY_STATUS.get(status, [])
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}
