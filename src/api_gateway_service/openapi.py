"""The OpenAPI document: what the framework knows of the routes, and what it cannot know.

The framework sees neither what the layers around the routes answer, nor the body that the route
reads itself, nor any header of an answer.
"""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from api_gateway_service import openapi_examples as examples
from api_gateway_service import openapi_texts as texts
from api_gateway_service.models.errors import GatewayProblem
from api_gateway_service.models.requests import PipelineRequest
from api_gateway_service.routing import EVENTS, PIPELINES, STATUS
from common_core.problem import PROBLEM_TYPE

Document = dict[str, Any]

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
SECURITY_SCHEME = "bearer"
_REFERENCE = "#/components/schemas/{model}"
_COMMON = ("X-Correlation-ID",)
_LIMITED = ("RateLimit", "RateLimit-Policy")
_HEADERS_BY_STATUS = {
    401: ("WWW-Authenticate",),
    403: ("WWW-Authenticate",),
    405: ("Allow",),
    409: ("Retry-After",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}


def describe(app: FastAPI) -> Document:
    """Return the document of the application's routes."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=texts.TITLE,
            version=version("batch-conductor-service"),
            description=texts.ABOUT,
            routes=app.routes,
        )
        _complete(document)
        app.openapi_schema = document
    return app.openapi_schema


def _complete(document: Document) -> None:
    components = document.setdefault("components", {})
    components["schemas"] = _schemas(components.get("schemas", {}))
    components["securitySchemes"] = {
        SECURITY_SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": texts.BEARER,
        }
    }
    components["headers"] = {
        name: {"description": text, "schema": _header_schema(name)}
        for name, text in texts.HEADERS.items()
    }
    paths = document["paths"]
    _complete_operation(paths[PIPELINES]["post"], "post")
    _complete_operation(paths[STATUS]["get"], "status")
    _complete_operation(paths[EVENTS]["get"], "events")
    _complete_body(paths[PIPELINES]["post"])
    for path, operations in paths.items():
        for operation in operations.values():
            _add_headers(operation, is_limited=path in (PIPELINES, STATUS, EVENTS))
            operation["responses"] = dict(sorted(operation["responses"].items()))


def _schemas(known: Document) -> Document:
    """Return the schemas, with those that the framework does not see, without its own."""
    _, definitions = models_json_schema(
        [(PipelineRequest, "validation"), (GatewayProblem, "serialization")],
        ref_template=_REFERENCE,
    )
    for unused in ("HTTPValidationError", "ValidationError"):
        known.pop(unused, None)
    return dict(sorted((known | definitions["$defs"]).items()))


def _header_schema(name: str) -> Document:
    if name == "Retry-After":
        return {"type": "integer", "minimum": 1}
    return {"type": "string"} | ({"format": "uuid"} if name == "X-Correlation-ID" else {})


def _complete_operation(operation: Document, name: str) -> None:
    operation["security"] = [{SECURITY_SCHEME: []}]
    operation["description"] = texts.OPERATIONS[name]
    for parameter in operation["parameters"]:
        if parameter["name"] == "batch_id":
            parameter["example"] = examples.BATCH_ID
    responses = operation["responses"]
    problem = {"$ref": _REFERENCE.format(model="GatewayProblem")}
    for status, shown in examples.problem_examples(name).items():
        title = next(iter(shown.values()))["value"]["title"]
        responses[str(status)] = {
            "description": title,
            "content": {PROBLEM_TYPE: {"schema": problem, "examples": shown}},
        }
    _complete_success(responses, name)


def _complete_success(responses: Document, name: str) -> None:
    match name:
        case "post":
            responses["202"]["description"] = "Accepted"
            responses["202"]["content"][JSON]["example"] = examples.ACCEPTED
            responses["202"]["headers"] = _references(("Location",))
        case "status":
            responses["200"]["description"] = "The status"
            responses["200"]["content"][JSON]["example"] = examples.STATUS
            responses["304"] = {"description": "It is still so."}
            for status in ("200", "304"):
                responses[status]["headers"] = _references(("ETag", "Cache-Control"))
        case "events":
            responses["200"] = {
                "description": "The status, each time it changes",
                "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
                "headers": _references(("Cache-Control",)),
            }


def _complete_body(operation: Document) -> None:
    operation["requestBody"] = {
        "required": True,
        "content": {
            JSON: {
                "schema": {"$ref": _REFERENCE.format(model="PipelineRequest")},
                "examples": {name: {"value": one} for name, one in examples.REQUESTS.items()},
            }
        },
    }


def _add_headers(operation: Document, *, is_limited: bool) -> None:
    for status, response in operation["responses"].items():
        headers = response.setdefault("headers", {})
        further = _HEADERS_BY_STATUS.get(int(status), ()) if is_limited else ()
        headers.update(_references((*_COMMON, *further)))
        if is_limited:
            headers.update(_references(_LIMITED))


def _references(names: tuple[str, ...]) -> Document:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
