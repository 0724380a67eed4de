"""Between what BOS knows of a batch and what callers see."""

from collections.abc import Sequence
from datetime import datetime

from batch_orchestrator_service.domain.models import BatchState, Phase, Run
from batch_orchestrator_service.domain.states import RunState
from common_core import pipeline_state as shown

MAX_RUNS = 20

_STATUS_BY_END = {
    RunState.COMPLETED_SUCCESSFULLY: "completed_successfully",
    RunState.NOTHING_TO_DO: "completed_successfully",
    RunState.COMPLETED_WITH_FAILURES: "completed_with_failures",
    RunState.FAILED_CRITICALLY: "failed_critically",
    RunState.CANCELLED: "failed_critically",
}


def to_pipeline_state(state: BatchState, now: datetime) -> shown.PipelineState:
    """Return the batch as callers see it."""
    return shown.PipelineState(
        batch_id=state.batch_id,
        user_id=state.batch.user_id or "",
        batch_status=batch_status(state),
        runs=[to_run(run, now) for run in _shown(state.runs)],
    )


def _shown(runs: Sequence[Run]) -> list[Run]:
    """Return the newest runs, the newest first; refused clicks crowd out none that matters."""
    matters = [not run.state.has_ended for run in runs]
    taken = [place for place, run in enumerate(runs) if run.state is not RunState.REJECTED]
    for place in taken[-1:]:
        matters[place] = True  # the batch's status is its
    by_need = sorted(range(len(runs)), key=lambda place: (matters[place], place), reverse=True)
    return [runs[place] for place in sorted(by_need[:MAX_RUNS], reverse=True)]


def to_run(run: Run, now: datetime) -> shown.RunState:
    """Return a run as callers see it."""
    return shown.RunState(
        run_id=run.run_id,
        request_ids=list(run.request_ids),
        pipeline=run.pipeline,
        state=run.state.value,
        reason=run.reason,
        phases=[_to_phase(phase, now) for phase in run.phases],
        correlation_id=run.correlation_id,
        accepted_at=run.accepted_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )


def batch_status(state: BatchState) -> str:
    """Return the batch's status: that of its newest run which was not rejected."""
    runs = [run for run in state.runs if run.state is not RunState.REJECTED]
    if runs:
        return _STATUS_BY_END.get(runs[-1].state, "processing_pipelines")
    if state.batch.is_ready:
        return "ready_for_pipeline_execution"
    return "awaiting_content_validation"


def _to_phase(phase: Phase, now: datetime) -> shown.PhaseState:
    is_overdue = phase.deadline_at is not None and phase.deadline_at <= now
    return shown.PhaseState(
        name=phase.name,
        status=phase.status.value,
        completed=len(phase.processed),
        failed=len(phase.failed),
        total=len(phase.dispatched),
        skip_reason=phase.skip_reason,
        stalled=is_overdue and phase.status.is_dispatched,
    )
