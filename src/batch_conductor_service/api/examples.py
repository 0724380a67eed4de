"""The examples of the OpenAPI document. A test has the application give each of the answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

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


def _refused(
    status: HTTPStatus,
    code: str,
    detail: str,
    errors: Sequence[JsonObject] = (),
    **question: object,
) -> Example:
    problem = {
        "type": f"urn:bcs:problem:{code}",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "code": code,
        "correlation_id": CORRELATION_ID,
    }
    answer = problem | ({"errors": list(errors)} if errors else {})
    return Example(name=code, status=status, answer=answer, question=QUESTION | question)


def _invalid(message: str, batch_id: str) -> Example:
    return _refused(
        HTTPStatus.BAD_REQUEST,
        "invalid_request",
        "The request is not JSON, or fields are missing or out of their limits.",
        [{"field": "batch_id", "message": message}],
        batch_id=batch_id,
    )


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
    _refused(HTTPStatus.UNAUTHORIZED, "unauthorized", "No permission -- see authorization schemes"),
    _refused(
        HTTPStatus.NOT_FOUND,
        "unknown_pipeline",
        "No pipeline and no step is named 'painting'. Known: ai_feedback, cj_assessment, nlp,"
        " comprehensive, spellcheck.",
        requested_pipeline="painting",
    ),
    _refused(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "Request timed out; try again later"),
    _refused(
        HTTPStatus.CONFLICT,
        "prerequisite_missing",
        "Step 'nlp' depends on 'spellcheck', which neither runs nor is complete.",
    ),
    _refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", "Entity is too large"),
    _refused(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "Entity body in unsupported format",
    ),
    _refused(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "A fault of the service; its log has more under the correlation id.",
    ),
    _refused(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "state_unavailable",
        "Neither the cache nor the database can be read.",
    ),
    _refused(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "Too many requests are in flight."),
    _refused(HTTPStatus.SERVICE_UNAVAILABLE, "deadline_exceeded", "The answer took too long."),
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
    _invalid("Value error, must be made of letters, digits and . _ ~ @ + = -", "batch*"),
    _refused(HTTPStatus.NOT_FOUND, "unknown_batch", "Nothing is known of this batch."),
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
