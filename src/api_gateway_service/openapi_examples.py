"""The examples of the OpenAPI document; a test has the service give each of them.

Those of errors are made from the errors themselves, so their words are the service's.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException

from api_gateway_service import exceptions as errors
from api_gateway_service.models.errors import to_answer
from api_gateway_service.openapi_texts import ACCEPTED_MESSAGE
from common_core.problem import FieldError

Example = dict[str, Any]

CORRELATION_ID = "0b0f5a0e-6a86-4b4c-9b5e-0d6a4d2f1c11"
REQUEST_ID = "5f6f3d0e-3f1b-5a52-8f0e-8a1f0c9d7e21"
BATCH_ID = "batch-1"
PIPELINE = "cj_assessment"

REQUESTS: Mapping[str, Example] = {
    "pipeline": {"requested_pipeline": PIPELINE},
    "retry": {
        "requested_pipeline": PIPELINE,
        "is_retry": True,
        "retry_reason": "Two essays failed.",
    },
    "with_prompt": {
        "requested_pipeline": "ai_feedback",
        "prompt_payload": {"assignment_id": "assignment-7"},
    },
}
ACCEPTED: Example = {
    "status": "accepted",
    "message": ACCEPTED_MESSAGE,
    "batch_id": BATCH_ID,
    "correlation_id": CORRELATION_ID,
    "request_id": REQUEST_ID,
    "accepted_at": "2026-11-26T09:00:00Z",
    "links": {"status": f"/v1/batches/{BATCH_ID}/status"},
}
STATUS: Example = {
    "batch_id": BATCH_ID,
    "status": "processing",
    "details": {
        "phases": [
            {
                "name": "spellcheck",
                "status": "skipped_by_user_config",
                "completed": 0,
                "failed": 0,
                "total": 0,
                "skip_reason": "already_completed",
                "stalled": False,
            },
            {
                "name": "cj_assessment",
                "status": "dispatch_initiated",
                "completed": 0,
                "failed": 0,
                "total": 3,
                "skip_reason": None,
                "stalled": False,
            },
        ],
        "current_phase": "cj_assessment",
        "requests": [
            {
                "request_id": REQUEST_ID,
                "pipeline": PIPELINE,
                "state": "running",
                "reason": None,
                "correlation_id": CORRELATION_ID,
                "accepted_at": "2026-11-26T09:00:00Z",
                "started_at": "2026-11-26T09:00:01Z",
                "ended_at": None,
            }
        ],
    },
}

_OF_ALL: Sequence[Exception] = (
    errors.UnauthenticatedError("missing"),
    errors.ForbiddenError("batches:read"),
    errors.UnknownBatchError(),
    HTTPException(405),
    errors.BodyTooLargeError(),
    errors.InvalidFieldsError(
        [FieldError(field="batch_id", message="String should match the pattern")]
    ),
    errors.RateLimitedError(7),
    RuntimeError("whatever nobody foresaw"),
    errors.KeysUnavailableError(),
)
_OF_STATUS: Sequence[Exception] = (*_OF_ALL, errors.OrchestratorUnavailableError())
ERRORS: Mapping[str, Sequence[Exception]] = {
    "post": (
        *_OF_ALL,
        errors.NotJsonError(),
        errors.BodyTooSlowError(),
        errors.BatchMismatchError(),
        errors.RequestInFlightError(),
        errors.UnsupportedMediaTypeError(),
        errors.KeyReusedError(),
        errors.NotAcknowledgedError(),
    ),
    "status": _OF_STATUS,
    "events": (*_OF_STATUS, errors.TooManyStreamsError(5)),
}


def problem_examples(operation: str) -> dict[int, dict[str, Example]]:
    """Return the problems of an operation by their status and code."""
    examples: dict[int, dict[str, Example]] = {}
    for error in ERRORS[operation]:
        problem = json.loads(bytes(to_answer(error, CORRELATION_ID).body))
        examples.setdefault(problem["status"], {})[problem["code"]] = {"value": problem}
    return examples
