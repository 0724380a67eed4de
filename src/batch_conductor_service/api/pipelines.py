"""The route of the one question."""

import structlog
from dishka import FromDishka
from quart import Blueprint, Response
from quart_dishka import inject

from batch_conductor_service.api.conversion import to_answer, to_request
from batch_conductor_service.api.resolving import ResolutionDesk
from batch_conductor_service.domain.resolution import ResolutionRequest
from batch_conductor_service.protocols import FreshnessProtocol
from common_core.define import DefineRequest
from service_libs.http.correlation import adopt_correlation, correlation_id
from service_libs.http.limits import RequestGate, remaining_seconds
from service_libs.http.problems import refusing_invalid_fields

logger = structlog.get_logger(__name__)

MAX_WAIT_SECONDS = 5  # for the freshness that a caller needs
MAX_WAIT_SHARE = 0.5  # of the time that there is: an answer takes some, too

blueprint = Blueprint("pipelines", __name__, url_prefix="/internal/v1/pipelines")


@blueprint.post("/define")
@inject
async def define(
    desk: FromDishka[ResolutionDesk],
    freshness: FromDishka[FreshnessProtocol],
    gate: FromDishka[RequestGate],
) -> Response:
    """Answer which steps of a pipeline are still to run for a batch, and in which order."""
    request = await _receive_question(desk)
    with gate.aside():
        await _wait_for_freshness(freshness, request)
    resolution = await desk.resolve(request)
    answer = to_answer(resolution).model_dump_json(exclude_unset=True)
    return Response(answer, content_type="application/json")


async def _receive_question(desk: ResolutionDesk) -> ResolutionRequest:
    """Return the question, of whose body no more is kept than is needed."""
    body = await desk.receive()
    with refusing_invalid_fields():
        question = DefineRequest.model_validate_json(body)
    if question.correlation_id is not None:
        adopt_correlation(question.correlation_id)
    structlog.contextvars.bind_contextvars(batch_id=question.batch_id)
    if question.has_unusable_total:
        logger.info("unusable_essays_total_ignored")
    return to_request(question, correlation_id(), body)


async def _wait_for_freshness(freshness: FreshnessProtocol, request: ResolutionRequest) -> None:
    """Wait, bounded, for what the caller knows of."""
    if request.not_before is not None:
        longest = min(MAX_WAIT_SECONDS, MAX_WAIT_SHARE * remaining_seconds())
        await freshness.wait_until(request.not_before, longest)
