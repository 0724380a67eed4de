"""One table from exception to status."""

from http import HTTPStatus

from batch_conductor_service.exceptions import (
    PrerequisiteMissingError,
    UnknownBatchError,
    UnknownPipelineError,
)
from service_libs.exceptions import TransientError
from service_libs.http.problems import Statuses

STATUS_BY_ERROR: Statuses = {
    UnknownPipelineError: HTTPStatus.NOT_FOUND,
    UnknownBatchError: HTTPStatus.NOT_FOUND,
    PrerequisiteMissingError: HTTPStatus.CONFLICT,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
}
