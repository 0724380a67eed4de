"""From what BOS knows of a batch to what its owner is shown. Pure."""

import hashlib
from collections.abc import Mapping

from api_gateway_service.models.responses import (
    BatchStatus,
    ClientStatus,
    RequestState,
    StatusDetails,
)
from api_gateway_service.models.values import KnownBatch, StatusView
from common_core.pipeline_state import PhaseState, PipelineState, RunState

REJECTED = "rejected"
WORKED_ON = ("dispatch_initiated", "in_progress")
TAG_LENGTH = 32

STATUS_BY_BATCH_STATUS: Mapping[str, ClientStatus] = {
    "awaiting_content_validation": ClientStatus.PENDING_CONTENT,
    "ready_for_pipeline_execution": ClientStatus.READY,
    "processing_pipelines": ClientStatus.PROCESSING,
    "completed_successfully": ClientStatus.COMPLETED_SUCCESSFULLY,
    "completed_with_failures": ClientStatus.COMPLETED_WITH_FAILURES,
    "failed_critically": ClientStatus.FAILED,
}


def to_batch(state: PipelineState) -> KnownBatch:
    """Return what callers may know of the batch."""
    is_understood = state.batch_status in STATUS_BY_BATCH_STATUS
    return KnownBatch(user_id=state.user_id, view=to_view(state) if is_understood else None)


def to_view(state: PipelineState) -> StatusView:
    """Return the status as it is sent."""
    body = to_status(state).model_dump_json().encode()
    return StatusView(body=body, tag=hashlib.sha256(body).hexdigest()[:TAG_LENGTH])


def to_status(state: PipelineState) -> BatchStatus:
    """Return the status, which is one that we know."""
    shown = next((run for run in state.runs if run.state != REJECTED), None)
    phases = shown.phases if shown else []
    return BatchStatus(
        batch_id=state.batch_id,
        status=STATUS_BY_BATCH_STATUS[state.batch_status],
        details=StatusDetails(
            phases=phases,
            current_phase=_current(phases),
            requests=[request for run in state.runs for request in _requests(run)],
        ),
    )


def _current(phases: list[PhaseState]) -> str | None:
    return next((phase.name for phase in phases if phase.status in WORKED_ON), None)


def _requests(run: RunState) -> list[RequestState]:
    """Return a state for each click that led to the run."""
    return [
        RequestState(
            request_id=request_id,
            pipeline=run.pipeline,
            state=run.state,
            reason=run.reason,
            correlation_id=run.correlation_id,
            accepted_at=run.accepted_at,
            started_at=run.started_at,
            ended_at=run.ended_at,
        )
        for request_id in run.request_ids
    ]
