"""The examples of the OpenAPI document. A test has the application give each of the answers."""

from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from batch_conductor_service.api.errors import STATUS_BY_ERROR
from batch_conductor_service.exceptions import (
    PrerequisiteMissingError,
    UnknownBatchError,
    UnknownPipelineError,
)
from common_core.fields import NO_IDENTIFIER
from service_libs.exceptions import (
    DeadlineExceededError,
    OverloadedError,
    ServiceError,
    StoreUnavailableError,
)
from service_libs.http.intake import InvalidRequestError
from service_libs.http.problems import CODE_BY_STATUS, OUR_FAULT, status_of

JsonObject = dict[str, Any]

CORRELATION_ID = "7f3c0a52-52a9-4f0e-9d35-5f5f3f0c8a11"
QUESTION: JsonObject = {
    "batch_id": "batch-1",
    "requested_pipeline": "cj_assessment",
    "correlation_id": CORRELATION_ID,
    "batch_metadata": {"prompt_attached": True, "essays_total": 1},
}
_NOTHING_DONE: JsonObject = {"completed": 0, "failed": 0, "total": 1}
_NO_EVIDENCE: JsonObject = _NOTHING_DONE | {"outcome": None, "completed_at": None}
_SPELLCHECKED: JsonObject = _NO_EVIDENCE | {"completed": 1, "completed_at": "2025-06-01T12:00:00Z"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An answer, by name, and the question that it answers where that matters."""

    name: str
    status: HTTPStatus
    answer: JsonObject
    question: JsonObject = field(default_factory=lambda: QUESTION)


def _phase(name: str, verdict: str, reason: str, evidence: JsonObject) -> JsonObject:
    return {"name": name, "verdict": verdict, "reason": reason, "evidence": evidence}


def _resolved(name: str, summary: str, *phases: JsonObject) -> Example:
    return Example(
        name=name,
        status=HTTPStatus.OK,
        answer={
            "batch_id": "batch-1",
            "final_pipeline": [phase["name"] for phase in phases if phase["verdict"] == "run"],
            "analysis_summary": summary,
            "requested_pipeline": "cj_assessment",
            "correlation_id": CORRELATION_ID,
            "phases": list(phases),
        },
    )


def _refused(status: HTTPStatus, code: str, detail: str, **question: object) -> Example:
    problem = {
        "type": f"urn:bcs:problem:{code}",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "code": code,
        "correlation_id": CORRELATION_ID,
    }
    return Example(name=code, status=status, answer=problem, question=QUESTION | question)


def _failed(error: ServiceError, **question: object) -> Example:
    return _refused(status_of(error, STATUS_BY_ERROR), error.code, str(error), **question)


def _refused_by_framework(status: HTTPStatus) -> Example:
    return _refused(status, CODE_BY_STATUS[status], status.description)


def _invalid(message: str, batch_id: str) -> Example:
    detail = InvalidRequestError.__doc__ or ""
    example = _refused(HTTPStatus.BAD_REQUEST, "invalid_request", detail, batch_id=batch_id)
    errors = [{"field": "batch_id", "message": message}]
    return replace(example, answer=example.answer | {"errors": errors})


DEFINE_EXAMPLES = (
    _resolved(
        "nothing_known",
        "Batch 'batch-1': 2 of 2 steps of 'cj_assessment' to run: spellcheck, cj_assessment.",
        _phase("spellcheck", "run", "not_started", _NO_EVIDENCE),
        _phase("cj_assessment", "run", "requested", _NO_EVIDENCE),
    ),
    _resolved(
        "spellcheck_complete",
        "Batch 'batch-1': 1 of 2 steps of 'cj_assessment' to run: cj_assessment;"
        " already complete: spellcheck.",
        _phase("spellcheck", "skip", "already_completed", _SPELLCHECKED),
        _phase("cj_assessment", "run", "requested", _NO_EVIDENCE),
    ),
    _invalid("String should have at least 1 character", ""),
    _refused_by_framework(HTTPStatus.UNAUTHORIZED),
    _failed(
        UnknownPipelineError(
            "painting", ["ai_feedback", "cj_assessment", "nlp", "comprehensive", "spellcheck"]
        ),
        requested_pipeline="painting",
    ),
    _refused_by_framework(HTTPStatus.REQUEST_TIMEOUT),
    _failed(PrerequisiteMissingError("nlp", "spellcheck")),
    _refused_by_framework(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    _refused_by_framework(HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    _refused(HTTPStatus.INTERNAL_SERVER_ERROR, ServiceError.code, OUR_FAULT),
    _failed(StoreUnavailableError()),
    _failed(OverloadedError()),
    _failed(DeadlineExceededError()),
)
_OF_BOTH = (
    "unauthorized",
    "internal_error",
    "state_unavailable",
    "overloaded",
    "deadline_exceeded",
)
BATCH_EXAMPLES = (
    Example(
        name="spellcheck_complete",
        status=HTTPStatus.OK,
        answer={
            "batch_id": "batch-1",
            "essays_total": 1,
            "degraded": False,
            "steps": {
                "spellcheck": _SPELLCHECKED | {"is_complete": True, "reason": "already_completed"}
            },
            "outputs": {"spellcheck": {"essay-1": "text-1"}},
        },
    ),
    _invalid(NO_IDENTIFIER, "batch*"),
    _failed(UnknownBatchError()),
    *(one for one in DEFINE_EXAMPLES if one.name in _OF_BOTH),
)

HEALTH_EXAMPLES = {
    "/healthz": Example(
        name="healthy",
        status=HTTPStatus.OK,
        answer={
            "service": "batch_conductor_service",
            "status": "healthy",
            "dependencies": {
                name: {"status": "disabled", "message": "Not in use with these settings."}
                for name in ("redis", "postgresql", "kafka")
            },
            "tasks": {"consumer": "disabled", "persistence_worker": "disabled"},
        },
    ),
    "/readyz": Example(name="ready", status=HTTPStatus.OK, answer={"ready": True}),
    "/livez": Example(name="alive", status=HTTPStatus.OK, answer={"alive": True}),
}
