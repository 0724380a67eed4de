"""The OpenAPI document, made from the schemas that the routes themselves use."""

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from quart import Blueprint

from batch_conductor_service.api.errors import PROBLEM_TYPE
from batch_conductor_service.api.health import VERSION
from batch_conductor_service.api.schemas import (
    BatchPath,
    BatchResponse,
    DefineRequest,
    DefineResponse,
    Problem,
)

blueprint = Blueprint("openapi", __name__)

_REFERENCE = "#/components/schemas/{model}"
_JSON = "application/json"


@blueprint.get("/openapi.json")
async def openapi() -> dict[str, Any]:
    """Show how to call the internal routes."""
    return _document()


@cache
def _document() -> dict[str, Any]:
    _, definitions = models_json_schema(
        [
            (DefineRequest, "validation"),
            (BatchPath, "validation"),
            (DefineResponse, "serialization"),
            (BatchResponse, "serialization"),
            (Problem, "serialization"),
        ],
        ref_template=_REFERENCE,
    )
    schemas = definitions["$defs"]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Batch Conductor Service", "version": VERSION},
        "paths": {
            "/internal/v1/pipelines/define": {"post": _define()},
            "/internal/v1/batches/{batch_id}": {
                "get": _show_batch(schemas["BatchPath"]["properties"]["batch_id"])
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"service_token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _define() -> dict[str, Any]:
    return {
        "summary": "Which steps of a pipeline are still to run for a batch, and in which order",
        "operationId": "define",
        "security": [{}, {"service_token": []}],
        "requestBody": {"required": True, "content": {_JSON: {"schema": _ref(DefineRequest)}}},
        "responses": _responses(DefineResponse, 400, 401, 404, 409, 413, 415, 500, 503),
    }


def _show_batch(identifier: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": "What is known of a batch",
        "operationId": "show_batch",
        "security": [{}, {"service_token": []}],
        "parameters": [{"name": "batch_id", "in": "path", "required": True, "schema": identifier}],
        "responses": _responses(BatchResponse, 400, 401, 404, 500, 503),
    }


def _responses(answer: type[BaseModel], *problems: int) -> dict[str, Any]:
    refused = {"description": "A problem.", "content": {PROBLEM_TYPE: {"schema": _ref(Problem)}}}
    answered = {"description": "The answer.", "content": {_JSON: {"schema": _ref(answer)}}}
    return {"200": answered} | {str(status): refused for status in problems}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}
