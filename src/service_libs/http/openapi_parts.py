"""Parts of an OpenAPI document that are alike in every service on Quart."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Protocol

from pydantic import BaseModel

from common_core.problem import PROBLEM_TYPE, Problem

Document = dict[str, Any]

JSON = "application/json"
REFERENCE = "#/components/schemas/{model}"

_CORRELATION = {"X-Correlation-ID": {"$ref": "#/components/headers/X-Correlation-ID"}}
_HEADERS_BY_STATUS = {
    HTTPStatus.UNAUTHORIZED: ["WWW-Authenticate"],
    HTTPStatus.SERVICE_UNAVAILABLE: ["Retry-After"],
}


class Example(Protocol):
    """An answer, by name."""

    @property
    def name(self) -> str: ...
    @property
    def status(self) -> HTTPStatus: ...
    @property
    def answer(self) -> Document: ...


def describe_headers(correlation_id: Document) -> Document:
    """Return the headers of answers; the schema is that of a correlation id."""
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


def describe_health(model: type[BaseModel], example: Example) -> Document:
    """Return the operation that says how the service is doing, by its model."""
    responses = describe_responses(model, [example])
    bad = {"content": {JSON: {"schema": refer_to(model)}}, "headers": _CORRELATION}
    responses["503"] = {"description": "It is not.", **bad}
    return {"summary": (model.__doc__ or "").rstrip("."), "responses": responses}


def describe_plain(summary: str, content_type: str) -> Document:
    """Return an operation without a schema."""
    shown = {"description": "The answer.", "content": {content_type: {}}, "headers": _CORRELATION}
    return {"summary": summary, "responses": {"200": shown}}


def describe_responses(answer: type[BaseModel], examples: Iterable[Example]) -> Document:
    """Return the answers by status, each with its body, headers, and an example of each code."""
    responses: Document = {}
    for example in examples:
        is_problem = example.status >= HTTPStatus.BAD_REQUEST
        content_type, model = (PROBLEM_TYPE, Problem) if is_problem else (JSON, answer)
        response = responses.setdefault(
            str(example.status.value),
            {
                "description": example.status.phrase,
                "headers": _CORRELATION | _further_headers(example.status),
                "content": {content_type: {"schema": refer_to(model), "examples": {}}},
            },
        )
        response["content"][content_type]["examples"][example.name] = {"value": example.answer}
    return dict(sorted(responses.items()))


def _further_headers(status: HTTPStatus) -> Document:
    names = _HEADERS_BY_STATUS.get(status, [])
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def refer_to(model: type[BaseModel]) -> dict[str, str]:
    """Return the reference to the schema of a model."""
    return {"$ref": REFERENCE.format(model=model.__name__)}
