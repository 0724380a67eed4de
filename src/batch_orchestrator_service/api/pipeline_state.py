"""The route that shows a batch's runs."""

import hashlib

from dishka import FromDishka
from quart import Blueprint, Response, request
from quart_dishka import inject

from batch_orchestrator_service.api.conversion import to_pipeline_state
from batch_orchestrator_service.exceptions import UnknownBatchError
from batch_orchestrator_service.protocols import RunStoreProtocol
from common_core.define import BatchPath
from service_libs.http.exchange import within_deadline
from service_libs.http.intake import refusing_invalid_fields
from service_libs.protocols import ClockProtocol

NOT_MODIFIED = 304  # status

blueprint = Blueprint("pipeline_state", __name__, url_prefix="/internal/v1/batches")


@blueprint.get("/<batch_id>/pipeline-state")
@inject
async def show(
    batch_id: str, store: FromDishka[RunStoreProtocol], clock: FromDishka[ClockProtocol]
) -> Response:
    """Show the runs of a batch, the newest first."""
    with refusing_invalid_fields():
        batch = BatchPath(batch_id=batch_id).batch_id
    async with within_deadline():
        state = await store.find_overview(batch)
    if state is None or state.batch.user_id is None:
        raise UnknownBatchError
    body = to_pipeline_state(state, clock.now()).model_dump_json()
    tag = hashlib.sha256(body.encode()).hexdigest()[:32]
    if request.if_none_match.contains(tag):
        response = Response("", status=NOT_MODIFIED)
    else:
        response = Response(body, content_type="application/json")
    response.set_etag(tag)
    return response
