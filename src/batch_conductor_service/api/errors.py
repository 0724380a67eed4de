"""One table from exception to status, and when to ask again."""

from http import HTTPStatus

from quart import g

from batch_conductor_service.exceptions import (
    PrerequisiteMissingError,
    UnknownBatchError,
    UnknownPipelineError,
)
from service_libs.breakers import CircuitBreakers
from service_libs.exceptions import ServiceError, StoreUnavailableError, TransientError
from service_libs.http.problems import Statuses

STATUS_BY_ERROR: Statuses = {
    UnknownPipelineError: HTTPStatus.NOT_FOUND,
    UnknownBatchError: HTTPStatus.NOT_FOUND,
    PrerequisiteMissingError: HTTPStatus.CONFLICT,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
}


async def seconds_to_wait(error: ServiceError) -> int | None:
    """Return after how many seconds a store is asked again; None where that is not known."""
    if not isinstance(error, StoreUnavailableError):
        return None
    breakers: CircuitBreakers = await g.dishka_container.get(CircuitBreakers)
    return breakers.retry_after_seconds
