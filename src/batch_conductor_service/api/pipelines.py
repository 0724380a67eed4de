"""The route of the one question."""

import structlog
from dishka import FromDishka
from quart import Blueprint, Response
from quart_dishka import inject

from batch_conductor_service.api.correlation import adopt_correlation, correlation_id
from batch_conductor_service.api.errors import refusing_invalid_fields
from batch_conductor_service.api.resolving import ResolutionDesk
from batch_conductor_service.api.schemas import DefineRequest, DefineResponse
from batch_conductor_service.domain.resolution import ResolutionRequest

logger = structlog.get_logger(__name__)

blueprint = Blueprint("pipelines", __name__, url_prefix="/internal/v1/pipelines")


@blueprint.post("/define")
@inject
async def define(desk: FromDishka[ResolutionDesk]) -> Response:
    """Answer which steps of a pipeline are still to run for a batch, and in which order."""
    resolution = await desk.resolve(await _receive_question(desk))
    answer = DefineResponse.of(resolution).model_dump_json()
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
    return question.as_request(correlation_id(), body)
