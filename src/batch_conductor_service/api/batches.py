"""The route that shows what is known of a batch."""

from collections.abc import Iterable
from dataclasses import replace

from dishka import FromDishka
from quart import Blueprint, Response
from quart_dishka import inject

from batch_conductor_service.domain.counting import judge_essay
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.domain.resolution import essays_total, judge_step
from batch_conductor_service.exceptions import UnknownBatchError
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    EssayProcessingState,
    SummaryReading,
)
from batch_conductor_service.protocols import BatchStateRepositoryProtocol
from common_core.define import BatchPath, BatchResponse, BatchStep
from service_libs.exceptions import StoreUnavailableError
from service_libs.http.exchange import within_deadline
from service_libs.http.intake import RequestGate, refusing_invalid_fields

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
        state = await repository.get_state(batch)
    # Read apart, so one may be the cache's and the other what the archive has of it.
    reading = replace(
        reading,
        is_degraded=reading.is_degraded or state.summarise(dependencies) != reading.summary,
    )
    answer = _to_batch(reading, state.essays(), dependencies).model_dump_json()
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


def _to_batch(
    reading: SummaryReading,
    essays: Iterable[EssayProcessingState],
    dependencies: StepDependencies,
) -> BatchResponse:
    """Return the batch as callers see it."""
    summary = reading.summary
    judged = {
        name: judge_step(summary, name, depends_on=dependencies.depends_on.get(name, ()))
        for name in summary.steps
    }
    return BatchResponse(
        batch_id=summary.batch_id,
        essays_total=essays_total(summary, None),
        degraded=reading.is_degraded or not summary.is_whole,
        steps={name: BatchStep.model_validate(progress) for name, progress in judged.items()},
        outputs=_outputs(essays),
    )


def _outputs(essays: Iterable[EssayProcessingState]) -> dict[str, dict[str, str]]:
    outputs: dict[str, dict[str, str]] = {}
    for essay in essays:
        for name, step in essay.steps.items():
            if storage_id := judge_essay(name, step.sources).storage_id:
                outputs.setdefault(name, {})[essay.essay_id] = storage_id
    return outputs
