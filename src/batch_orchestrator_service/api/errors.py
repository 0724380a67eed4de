"""One table from exception to status."""

from http import HTTPStatus

from batch_orchestrator_service.exceptions import UnknownBatchError
from service_libs.exceptions import TransientError
from service_libs.http.problems import Statuses

STATUS_BY_ERROR: Statuses = {
    UnknownBatchError: HTTPStatus.NOT_FOUND,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
}
