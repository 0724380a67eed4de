"""Between what is known of a batch and rows. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from batch_orchestrator_service.domain.models import (
    Batch,
    BatchState,
    Output,
    Phase,
    Prompt,
    Run,
)
from batch_orchestrator_service.domain.states import PhaseStatus, RunState

Values = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRows:
    """The rows of one batch, by table."""

    batch: Row[Any]
    essays: Sequence[Row[Any]]
    runs: Sequence[Row[Any]]
    requests: Sequence[Row[Any]]
    phases: Sequence[Row[Any]]
    outputs: Sequence[Row[Any]]


def to_state(rows: BatchRows) -> BatchState:
    """Return what the rows say of the batch."""
    phases: dict[UUID, list[Phase]] = {}
    for row in rows.phases:
        phases.setdefault(row.run_id, []).append(_to_phase(row))
    requests: dict[UUID, list[UUID]] = {}
    for row in rows.requests:
        requests.setdefault(row.run_id, []).append(row.request_id)
    outputs: dict[str, dict[str, Output]] = {}
    for row in rows.outputs:
        made = Output(text_id=row.text_id, made_at=row.made_at)
        outputs.setdefault(row.phase, {})[row.essay_id] = made
    return BatchState(
        batch_id=rows.batch.batch_id,
        batch=_to_batch(rows.batch, rows.essays),
        runs=tuple(
            to_run(row, requests.get(row.run_id, []), phases.get(row.run_id, []))
            for row in rows.runs
        ),
        fingerprints={row.request_id: row.fingerprint for row in rows.requests},
        outputs=outputs,
        outcome_at=rows.batch.outcome_at,
    )


def to_run(row: Row[Any], requests: Iterable[UUID], phases: Iterable[Phase]) -> Run:
    """Return a run."""
    return Run(
        run_id=row.run_id,
        pipeline=row.pipeline,
        user_id=row.user_id,
        correlation_id=row.correlation_id,
        client_correlation_id=row.client_correlation_id,
        accepted_at=row.accepted_at,
        request_ids=tuple(requests),
        is_retry=row.is_retry,
        retry_reason=row.retry_reason,
        prompt=Prompt(assignment_id=row.assignment_id, cms_prompt_ref=row.cms_prompt_ref),
        state=RunState(row.state),
        reason=row.reason,
        pipeline_version=row.pipeline_version,
        phases=tuple(phases),
        tried_at=row.tried_at,
        degraded_at=row.degraded_at,
        next_try_at=row.next_try_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


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


def _to_batch(row: Row[Any], essays: Sequence[Row[Any]]) -> Batch:
    return Batch(
        batch_id=row.batch_id,
        user_id=row.user_id,
        course_code=row.course_code,
        expected=row.expected,
        is_guest=row.is_guest,
        prompt_ref=row.prompt_ref,
        texts={essay.essay_id: essay.text_id for essay in essays},
        has_ready_essays=row.has_ready_essays,
        is_provisioned=row.is_provisioned,
    )


def _to_phase(row: Row[Any]) -> Phase:
    return Phase(
        name=row.phase,
        status=PhaseStatus(row.status),
        event_type=row.event_type,
        depends_on=tuple(row.depends_on),
        skip_reason=row.skip_reason,
        pending=frozenset(row.pending) if row.pending is not None else None,
        dispatched=tuple(row.dispatched),
        left_out=tuple(row.left_out),
        processed=tuple(row.processed),
        outcome=row.outcome,
        attempt=row.attempt,
        dispatched_at=row.dispatched_at,
        deadline_at=row.deadline_at,
        ended_at=row.ended_at,
    )
