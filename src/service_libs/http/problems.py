"""Errors as callers see them: one shape of body, whatever went wrong.

No body ever has a stack trace, a driver's message, a path or a secret: the detail of our own errors
is written for callers, and every other error is only logged.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import structlog
from quart import Quart, Response, g
from werkzeug.exceptions import HTTPException

from common_core.problem import PROBLEM_TYPE, FieldError, Problem
from service_libs.exceptions import OverloadedError, ServiceError
from service_libs.http.middleware import InvalidRequestError, correlation_id

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


def register_error_handlers(
    app: Quart, service: str, statuses: Statuses, seconds_to_wait: SecondsToWait | None = None
) -> None:
    """Answer every error of the app with a problem.

    Args:
        app: the application.
        service: names the service in the types of its problems.
        statuses: which status stands for which error, and of those derived from it.
        seconds_to_wait: after which the same may be asked again, where that is known better than
            by the usual two seconds.
    """
    handlers = _ErrorHandlers(service, statuses, seconds_to_wait)
    app.register_error_handler(InvalidRequestError, handlers.answer_invalid_request)
    app.register_error_handler(HTTPException, handlers.answer_http_error)
    app.register_error_handler(Exception, handlers.answer_error)


def status_of(error: BaseException, statuses: Statuses) -> HTTPStatus:
    """Return the status that stands for the error: a fault of ours unless the table has it."""
    for kind in type(error).__mro__:
        if status := statuses.get(kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


class _ErrorHandlers:
    def __init__(
        self, service: str, statuses: Statuses, seconds_to_wait: SecondsToWait | None
    ) -> None:
        self._service = service
        self._statuses = statuses
        self._seconds_to_wait = seconds_to_wait

    async def answer_invalid_request(self, error: InvalidRequestError) -> Response:
        detail = type(error).__doc__ or ""
        status = HTTPStatus.BAD_REQUEST
        return self._problem(status, "invalid_request", detail, errors=error.faults)

    async def answer_http_error(self, error: HTTPException) -> Response:
        status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
        code = CODE_BY_STATUS.get(status, "http_error")
        response = self._problem(status, code, status.description or status.phrase)
        for name, value in error.get_headers():
            if name != "Content-Type":
                response.headers[name] = value
        return response

    async def answer_error(self, error: Exception) -> Response:
        """Answer an error of the service; the last handler, for whatever nobody foresaw."""
        status = status_of(error, self._statuses)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR or not isinstance(error, ServiceError):
            logger.error("request_failed", exc_info=error)
            return self._problem(HTTPStatus.INTERNAL_SERVER_ERROR, ServiceError.code, OUR_FAULT)
        g.is_refused_for_load = isinstance(error, OverloadedError)
        if not g.is_refused_for_load:
            logger.warning(
                "request_refused", status=status.value, code=error.code, reason=str(error)
            )
        response = self._problem(status, error.code, str(error))
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            known = await self._seconds_to_wait(error) if self._seconds_to_wait else None
            response.headers["Retry-After"] = str(known or RETRY_AFTER_SECONDS)
        return response

    def _problem(
        self, status: HTTPStatus, code: str, detail: str, errors: list[FieldError] | None = None
    ) -> Response:
        problem = Problem(
            type=f"urn:{self._service}:problem:{code}",
            title=status.phrase,
            status=status.value,
            detail=detail,
            code=code,
            correlation_id=correlation_id(),
            errors=errors,
        )
        body = problem.model_dump_json(exclude_none=True)
        return Response(body, status=status.value, content_type=PROBLEM_TYPE)
