"""Errors as callers see them: one shape of body, whatever went wrong.

No body ever has a stack trace, a driver's message, a path or a secret: the detail of our own errors
is written for callers, and every other error is only logged.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus

import structlog
from werkzeug.exceptions import HTTPException

from common_core.problem import PROBLEM_TYPE, FieldError, Problem
from service_libs.exceptions import OverloadedError, ServiceError
from service_libs.http.exchange import Reply, correlation_id, current_exchange
from service_libs.http.intake import InvalidRequestError

logger = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = 2  # as often as dependencies are asked whether they are back

Statuses = Mapping[type[ServiceError], HTTPStatus]
SecondsToWait = Callable[[ServiceError], Awaitable[int | None]]

CODE_BY_STATUS: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "invalid_request",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_TIMEOUT: "request_timeout",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "body_too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
}

OUR_FAULT = "A fault of the service; its log has more under the correlation id."


def status_of(error: BaseException, statuses: Statuses) -> HTTPStatus:
    """Return the status that stands for the error: a fault of ours unless the table has it."""
    for kind in type(error).__mro__:
        if status := statuses.get(kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


class Problems:
    """Answers every error with a problem.

    Args:
        service: names the service in the types of its problems.
        statuses: which status stands for which error, and of those derived from it.
        seconds_to_wait: after which the same may be asked again, where that is known better than
            by the usual two seconds.
    """

    def __init__(
        self, service: str, statuses: Statuses, seconds_to_wait: SecondsToWait | None = None
    ) -> None:
        self._service = service
        self._statuses = statuses
        self._seconds_to_wait = seconds_to_wait

    async def reply(self, error: Exception) -> Reply:
        """Return the answer to whatever was raised."""
        match error:
            case InvalidRequestError():
                detail = type(error).__doc__ or ""
                return self._problem(
                    HTTPStatus.BAD_REQUEST, "invalid_request", detail, errors=error.faults
                )
            case HTTPException():
                return self._reply_to_http_error(error)
        return await self._reply_to_error(error)

    def _reply_to_http_error(self, error: HTTPException) -> Reply:
        status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
        code = CODE_BY_STATUS.get(status, "http_error")
        headers = [one for one in error.get_headers() if one[0] != "Content-Type"]
        return self._problem(status, code, status.description or status.phrase, headers=headers)

    async def _reply_to_error(self, error: Exception) -> Reply:
        """Answer an error of the service, or whatever nobody foresaw."""
        status = status_of(error, self._statuses)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR or not isinstance(error, ServiceError):
            logger.error("request_failed", exc_info=error)
            return self._problem(HTTPStatus.INTERNAL_SERVER_ERROR, ServiceError.code, OUR_FAULT)
        if isinstance(error, OverloadedError):
            current_exchange().is_refused_for_load = True
        else:
            logger.warning(
                "request_refused", status=status.value, code=error.code, reason=str(error)
            )
        headers = []
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            known = await self._seconds_to_wait(error) if self._seconds_to_wait else None
            headers.append(("Retry-After", str(known or RETRY_AFTER_SECONDS)))
        return self._problem(status, error.code, str(error), headers=headers)

    def _problem(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        errors: list[FieldError] | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        problem = Problem(
            type=f"urn:{self._service}:problem:{code}",
            title=status.phrase,
            status=status.value,
            detail=detail,
            code=code,
            correlation_id=correlation_id(),
            errors=errors,
        )
        body = problem.model_dump_json(exclude_none=True).encode()
        return Reply(status.value, body, PROBLEM_TYPE, headers)
