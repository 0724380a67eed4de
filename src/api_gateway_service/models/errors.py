"""Errors as callers see them: one table from exception to status, and one shape of body."""

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api_gateway_service import exceptions as errors
from common_core.problem import PROBLEM_TYPE, FieldError, Problem
from service_libs.exceptions import ServiceError, TransientError

logger = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = 2  # as often as dependencies are asked whether they are back
IN_FLIGHT_RETRY_SECONDS = 2  # who obeys stays within the burst while a send may take its time
OUR_FAULT = "A fault of the service; its log has more under the correlation id."

STATUS_BY_ERROR: Mapping[type[ServiceError], HTTPStatus] = {
    errors.NotJsonError: HTTPStatus.BAD_REQUEST,
    errors.BatchMismatchError: HTTPStatus.BAD_REQUEST,
    errors.UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    errors.ForbiddenError: HTTPStatus.FORBIDDEN,
    errors.UnknownBatchError: HTTPStatus.NOT_FOUND,
    errors.BodyTooSlowError: HTTPStatus.REQUEST_TIMEOUT,
    errors.RequestInFlightError: HTTPStatus.CONFLICT,
    errors.BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedMediaTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.InvalidFieldsError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.KeyReusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
}
RETRYABLE = frozenset(
    {HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
)
_CODE_BY_STATUS: Mapping[int, tuple[str, str]] = {
    HTTPStatus.NOT_FOUND: ("not_found", "There is nothing at this address."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "The address has no such method."),
}


class GatewayProblem(Problem):
    """An error, as RFC 9457 has it; `code` is stable."""

    retryable: bool = Field(
        description="Whether the same request may succeed later, as it is: true for 409, 429, 503."
    )


def answer_error(error: Exception, correlation_id: str) -> Response:
    """Return the answer to a request that ended in an error; log what callers cannot repair."""
    if isinstance(error, TransientError):
        logger.warning("request_refused", code=error.code, reason=str(error))
    response = to_answer(error, correlation_id)
    if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("request_failed", exc_info=error)
    return response


def to_answer(error: Exception, correlation_id: str) -> Response:
    """Return the answer that stands for the error."""
    match error:
        case RequestValidationError():
            return _answer_ours(errors.InvalidFieldsError(field_errors(error)), correlation_id)
        case HTTPException():
            return _answer_framework(error, correlation_id)
        case ServiceError() if status_of(error) is not HTTPStatus.INTERNAL_SERVER_ERROR:
            return _answer_ours(error, correlation_id)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return _problem(status, ServiceError.code, OUR_FAULT, correlation_id)


def code_of(error: Exception) -> str:
    """Return the code of the error's problem."""
    match error:
        case RequestValidationError():
            return errors.InvalidFieldsError.code
        case HTTPException():
            return _of_framework(HTTPStatus(error.status_code))[0]
        case ServiceError():
            return error.code
    return ServiceError.code


def status_of(error: ServiceError) -> HTTPStatus:
    """Return the status that stands for the error: a fault of ours unless the table has it."""
    for kind in type(error).__mro__:
        if status := STATUS_BY_ERROR.get(kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def field_errors(error: RequestValidationError | ValidationError) -> list[FieldError]:
    """Return what is wrong with which field, and never the value."""
    return [
        FieldError(
            field=".".join(str(part) for part in fault["loc"] if part not in ("path", "header"))
            or "body",
            message=fault["msg"],
        )
        for fault in error.errors()
    ]


def _answer_ours(error: ServiceError, correlation_id: str) -> Response:
    status = status_of(error)
    faults = error.faults if isinstance(error, errors.InvalidFieldsError) else None
    response = _problem(status, error.code, str(error), correlation_id, faults)
    response.headers.update(_headers(error, status))
    return response


def _headers(error: ServiceError, status: HTTPStatus) -> Mapping[str, str]:
    match error:
        case errors.UnauthenticatedError():
            is_missing = error.reason == "missing"
            return {"WWW-Authenticate": "Bearer" + ("" if is_missing else ' error="invalid_token"')}
        case errors.ForbiddenError():
            fault = f'error="insufficient_scope", scope="{error.scope}"'
            return {"WWW-Authenticate": f"Bearer {fault}"}
        case errors.RateLimitedError():
            return {"Retry-After": str(error.retry_after_seconds)}
        case errors.RequestInFlightError():
            return {"Retry-After": str(IN_FLIGHT_RETRY_SECONDS)}
    is_away = status is HTTPStatus.SERVICE_UNAVAILABLE
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if is_away else {}


def _answer_framework(error: HTTPException, correlation_id: str) -> Response:
    status = HTTPStatus(error.status_code)
    code, detail = _of_framework(status)
    response = _problem(status, code, detail, correlation_id)
    response.headers.update(error.headers or {})
    return response


def _of_framework(status: HTTPStatus) -> tuple[str, str]:
    """Return code and detail of what the framework refuses."""
    return _CODE_BY_STATUS.get(status, ("http_error", status.description or status.phrase))


def _problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    correlation_id: str,
    faults: list[FieldError] | None = None,
) -> Response:
    problem = GatewayProblem(
        type=f"urn:gateway:problem:{code}",
        title=status.phrase,
        status=status.value,
        detail=detail,
        code=code,
        correlation_id=correlation_id,
        errors=faults,
        retryable=status in RETRYABLE,
    )
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, status_code=status.value, media_type=PROBLEM_TYPE)
