"""One table from exception to status, and when to ask again."""

from http import HTTPStatus

from dishka import AsyncContainer

from batch_conductor_service.exceptions import (
    PrerequisiteMissingError,
    UnknownBatchError,
    UnknownPipelineError,
)
from service_libs.breakers import CircuitBreakers
from service_libs.exceptions import ServiceError, StoreUnavailableError, TransientError
from service_libs.http.problems import SecondsToWait, Statuses

STATUS_BY_ERROR: Statuses = {
    UnknownPipelineError: HTTPStatus.NOT_FOUND,
    UnknownBatchError: HTTPStatus.NOT_FOUND,
    PrerequisiteMissingError: HTTPStatus.CONFLICT,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def seconds_to_wait(container: AsyncContainer) -> SecondsToWait:
    """Return what says after how many seconds a store is asked again, where that is known."""

    async def seconds(error: ServiceError) -> int | None:
        if not isinstance(error, StoreUnavailableError):
            return None
        return (await container.get(CircuitBreakers)).retry_after_seconds

    return seconds
