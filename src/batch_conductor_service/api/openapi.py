"""The OpenAPI document, made from the schemas that the routes themselves use."""

from functools import cache
from http import HTTPStatus
from importlib.metadata import version

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from quart import Blueprint

from batch_conductor_service.api.examples import BATCH_EXAMPLES, DEFINE_EXAMPLES, HEALTH_EXAMPLES
from common_core.define import BatchPath, BatchResponse, DefineRequest, DefineResponse
from common_core.problem import Problem
from service_libs.health_report import Health, Liveness, Readiness
from service_libs.http.openapi_parts import (
    JSON,
    REFERENCE,
    Document,
    describe_headers,
    describe_health,
    describe_plain,
    describe_responses,
    refer_to,
)

blueprint = Blueprint("openapi", __name__)

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
        ref_template=REFERENCE,
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
            **{
                path: {"get": describe_health(model, HEALTH_EXAMPLES[path])}
                for path, model in _MODELS.items()
            },
            "/metrics": {
                "get": describe_plain("Every metric of the process", CONTENT_TYPE_PLAIN_0_0_4)
            },
            "/openapi.json": {"get": describe_plain("This document", JSON)},
        },
        "components": {
            "schemas": schemas,
            "headers": describe_headers(correlation_id),
            "securitySchemes": {"service_token": {"type": "http", "scheme": "bearer"}},
        },
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
            "content": {JSON: {"schema": refer_to(DefineRequest), "examples": asked}},
        },
        "responses": describe_responses(DefineResponse, DEFINE_EXAMPLES),
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
        "responses": describe_responses(BatchResponse, BATCH_EXAMPLES),
    }
