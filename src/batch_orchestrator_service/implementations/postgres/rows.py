"""From what is known of a batch to the rows that are new or have changed. No I/O."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from batch_orchestrator_service.domain.models import (
    BatchState,
    Run,
)
from batch_orchestrator_service.protocols import AuditEntry, OperatorEntry

Values = dict[str, Any]


def batch_values(state: BatchState) -> Values:
    """Return the row of the batch itself."""
    batch = state.batch
    return {
        "batch_id": state.batch_id,
        "user_id": batch.user_id,
        "course_code": batch.course_code,
        "expected": batch.expected,
        "is_guest": batch.is_guest,
        "prompt_ref": batch.prompt_ref,
        "has_ready_essays": batch.has_ready_essays,
        "is_provisioned": batch.is_provisioned,
        "outcome_at": state.outcome_at,
    }


def essay_values(state: BatchState, known: Mapping[str, str]) -> list[Values]:
    """Return the rows of essays that are new, or have another text than is known."""
    return [
        {"batch_id": state.batch_id, "essay_id": essay, "text_id": text}
        for essay, text in sorted(state.batch.texts.items())
        if known.get(essay) != text
    ]


def run_values(batch_id: str, run: Run) -> Values:
    """Return the row of a run."""
    return {
        "run_id": run.run_id,
        "batch_id": batch_id,
        "pipeline": run.pipeline,
        "user_id": run.user_id,
        "correlation_id": run.correlation_id,
        "client_correlation_id": run.client_correlation_id,
        "is_retry": run.is_retry,
        "retry_reason": run.retry_reason,
        "assignment_id": run.prompt.assignment_id,
        "cms_prompt_ref": run.prompt.cms_prompt_ref,
        "state": run.state.value,
        "reason": str(run.reason) if run.reason is not None else None,
        "pipeline_version": run.pipeline_version,
        "accepted_at": run.accepted_at,
        "tried_at": run.tried_at,
        "degraded_at": run.degraded_at,
        "next_try_at": run.next_try_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
    }


def phase_values(run: Run, known: Run | None) -> list[Values]:
    """Return the rows of the phases that are not as they are known."""
    before = {phase.name: phase for phase in known.phases} if known else {}
    return [
        {
            "run_id": run.run_id,
            "phase": phase.name,
            "position": position,
            "status": phase.status.value,
            "event_type": phase.event_type,
            "depends_on": list(phase.depends_on),
            "skip_reason": phase.skip_reason,
            "attempt": phase.attempt,
            "pending": sorted(phase.pending) if phase.pending is not None else None,
            "dispatched": list(phase.dispatched),
            "left_out": list(phase.left_out),
            "processed": list(phase.processed),
            "outcome": phase.outcome,
            "dispatched_at": phase.dispatched_at,
            "deadline_at": phase.deadline_at,
            "ended_at": phase.ended_at,
        }
        for position, phase in enumerate(run.phases)
        if before.get(phase.name) != phase
    ]


def request_values(state: BatchState, run: Run, known: Run | None, now: datetime) -> list[Values]:
    """Return the rows of the clicks that lead to the run since it is known."""
    before = len(known.request_ids) if known else 0
    return [
        {
            "request_id": request_id,
            "batch_id": state.batch_id,
            "run_id": run.run_id,
            "user_id": run.user_id,  # a run is joined by its own user alone
            "fingerprint": state.fingerprints[request_id],
            "position": position,
            "taken_at": now,
        }
        for position, request_id in enumerate(run.request_ids)
        if position >= before
    ]


def output_values(state: BatchState, known: BatchState) -> list[Values]:
    """Return the rows of the texts that are new."""
    return [
        {
            "batch_id": state.batch_id,
            "phase": phase,
            "essay_id": essay,
            "text_id": made.text_id,
            "made_at": made.made_at,
        }
        for phase, outputs in sorted(state.outputs.items())
        for essay, made in sorted(outputs.items())
        if known.outputs.get(phase, {}).get(essay) != made
    ]


def audit_values(entry: AuditEntry | OperatorEntry) -> Values:
    """Return the row of who did what; an operator's has no request."""
    if isinstance(entry, OperatorEntry):
        return {
            "user_id": entry.operator,
            "batch_id": entry.batch_id,
            "pipeline": entry.run.pipeline,
            "request_id": None,
            "run_id": entry.run.run_id,
            "decision": entry.action.value,
            "is_operator": True,
            "phase": entry.phase,
        }
    return {
        "user_id": entry.request.user_id,
        "batch_id": entry.request.batch_id,
        "pipeline": entry.request.pipeline,
        "request_id": entry.request.request_id,
        "run_id": entry.run_id,
        "decision": entry.decision.value,
        "is_operator": False,
        "phase": None,
    }


def gone_outputs(state: BatchState, known: BatchState) -> list[Values]:
    """Return which texts that are known are not there any more."""
    return [
        {"of_batch": state.batch_id, "of_phase": phase, "of_essay": essay}
        for phase, outputs in sorted(known.outputs.items())
        for essay in sorted(outputs.keys() - state.outputs.get(phase, {}).keys())
    ]
