"""The route that shows what is known of a batch."""

from dishka import FromDishka
from quart import Blueprint, Response
from quart_dishka import inject

from batch_conductor_service.api.conversion import to_batch
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.exceptions import UnknownBatchError
from batch_conductor_service.models import BatchCompletionSummary, BatchId
from batch_conductor_service.protocols import BatchStateRepositoryProtocol
from common_core.define import BatchPath
from service_libs.exceptions import StoreUnavailableError
from service_libs.http.limits import RequestGate, within_deadline
from service_libs.http.problems import refusing_invalid_fields

blueprint = Blueprint("batches", __name__, url_prefix="/internal/v1/batches")


@blueprint.get("/<batch_id>")
@inject
async def show(
    batch_id: str,
    repository: FromDishka[BatchStateRepositoryProtocol],
    gate: FromDishka[RequestGate],
    dependencies: FromDishka[StepDependencies],
) -> Response:
    """Show the progress of a batch by step, and where the outputs of its essays are stored."""
    with refusing_invalid_fields():
        batch = BatchId(BatchPath(batch_id=batch_id).batch_id)
    gate.enter()
    async with within_deadline():
        reading = await repository.get_summary(batch)
        _check_known(reading.summary)
        essays = (await repository.get_state(batch)).essays()
    answer = to_batch(reading, essays, dependencies).model_dump_json()
    return Response(answer, content_type="application/json")


def _check_known(summary: BatchCompletionSummary) -> None:
    """Refuse to show nothing.

    Raises:
        UnknownBatchError: nobody has said anything of the batch.
        StoreUnavailableError: somebody may have, where we cannot look now.
    """
    is_known = summary.steps or summary.registered_total or summary.reported_total
    if not is_known and summary.is_whole:
        raise UnknownBatchError
    if not is_known:
        raise StoreUnavailableError
