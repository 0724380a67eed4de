"""A batch as it is stored, read by one statement: a document with the rows of all its tables."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_orchestrator_service.domain.models import (
    Batch,
    BatchState,
    Output,
    Phase,
    Prompt,
    Run,
)
from batch_orchestrator_service.domain.states import PhaseStatus, RunState

Row = Mapping[str, Any]

_READ_BATCH = text("""
    SELECT CAST(json_build_object(
        'batch', row_to_json(batch),
        'essays', CASE WHEN CAST(:has_texts AS boolean) THEN (
            SELECT json_object_agg(essay_id, text_id) FROM bos.batch_essays AS essay
            WHERE essay.batch_id = batch.batch_id
        ) END,
        'runs', (
            SELECT json_agg(run ORDER BY number) FROM bos.pipeline_runs AS run
            WHERE run.batch_id = batch.batch_id
        ),
        'requests', (
            SELECT json_agg(json_build_array(run_id, request_id, fingerprint) ORDER BY position)
            FROM bos.run_requests AS request WHERE request.batch_id = batch.batch_id
        ),
        'phases', (
            SELECT json_agg(phase_run ORDER BY position) FROM bos.phase_runs AS phase_run
            WHERE phase_run.run_id IN (
                SELECT run_id FROM bos.pipeline_runs AS run WHERE run.batch_id = batch.batch_id
            )
        ),
        'outputs', CASE WHEN CAST(:has_texts AS boolean) THEN (
            SELECT json_agg(json_build_array(phase, essay_id, text_id, made_at))
            FROM bos.phase_outputs AS output WHERE output.batch_id = batch.batch_id
        ) END
    ) AS text)
    FROM bos.batches AS batch WHERE batch_id = :batch_id
""")

_LIST_OPEN = text("""
    SELECT CAST(row_to_json(run) AS text) FROM bos.pipeline_runs AS run
    WHERE ended_at IS NULL ORDER BY number LIMIT :count
""")


async def read_batch(
    connection: AsyncConnection, batch_id: str, *, has_texts: bool = True
) -> BatchState | None:
    """Return all that is stored of the batch, perhaps without texts, or None; as of one moment."""
    named = {"batch_id": batch_id, "has_texts": has_texts}
    document = await connection.scalar(_READ_BATCH, named)
    return _to_state(orjson.loads(document)) if document else None


async def list_open_runs(connection: AsyncConnection, count: int) -> list[tuple[str, Run]]:
    """Return the oldest runs that have not ended with their batches, without their phases."""
    found = await connection.scalars(_LIST_OPEN, {"count": count})
    stored = [orjson.loads(document) for document in found]
    return [(row["batch_id"], _to_run(row, (), ())) for row in stored]


def _to_state(stored: Mapping[str, Any]) -> BatchState:
    phases: dict[str, list[Phase]] = {}
    for row in stored["phases"] or ():
        phases.setdefault(row["run_id"], []).append(_to_phase(row))
    requests: dict[str, list[UUID]] = {}
    fingerprints: dict[UUID, str] = {}
    for run_id, request_id, fingerprint in stored["requests"] or ():
        requests.setdefault(run_id, []).append(UUID(request_id))
        fingerprints[UUID(request_id)] = fingerprint
    outputs: dict[str, dict[str, Output]] = {}
    for phase, essay, text_id, made_at in stored["outputs"] or ():
        made = Output(text_id=text_id, made_at=datetime.fromisoformat(made_at))
        outputs.setdefault(phase, {})[essay] = made
    batch = stored["batch"]
    return BatchState(
        batch_id=batch["batch_id"],
        batch=_to_batch(batch, stored["essays"] or {}),
        runs=tuple(
            _to_run(row, requests.get(row["run_id"], ()), phases.get(row["run_id"], ()))
            for row in stored["runs"] or ()
        ),
        fingerprints=fingerprints,
        outputs=outputs,
        outcome_at=_time(batch["outcome_at"]),
    )


def _to_batch(row: Row, texts: Mapping[str, str]) -> Batch:
    return Batch(
        batch_id=row["batch_id"],
        user_id=row["user_id"],
        course_code=row["course_code"],
        expected=row["expected"],
        is_guest=row["is_guest"],
        prompt_ref=row["prompt_ref"],
        texts=texts,
        has_ready_essays=row["has_ready_essays"],
        is_provisioned=row["is_provisioned"],
    )


def _to_run(row: Row, requests: Iterable[UUID], phases: Iterable[Phase]) -> Run:
    return Run(
        run_id=UUID(row["run_id"]),
        pipeline=row["pipeline"],
        user_id=row["user_id"],
        correlation_id=UUID(row["correlation_id"]),
        client_correlation_id=UUID(row["client_correlation_id"]),
        accepted_at=datetime.fromisoformat(row["accepted_at"]),
        request_ids=tuple(requests),
        is_retry=row["is_retry"],
        retry_reason=row["retry_reason"],
        prompt=Prompt(assignment_id=row["assignment_id"], cms_prompt_ref=row["cms_prompt_ref"]),
        state=RunState(row["state"]),
        reason=row["reason"],
        pipeline_version=row["pipeline_version"],
        phases=tuple(phases),
        tried_at=_time(row["tried_at"]),
        degraded_at=_time(row["degraded_at"]),
        next_try_at=_time(row["next_try_at"]),
        started_at=_time(row["started_at"]),
        ended_at=_time(row["ended_at"]),
    )


def _to_phase(row: Row) -> Phase:
    return Phase(
        name=row["phase"],
        status=PhaseStatus(row["status"]),
        event_type=row["event_type"],
        depends_on=tuple(row["depends_on"]),
        skip_reason=row["skip_reason"],
        pending=frozenset(row["pending"]) if row["pending"] is not None else None,
        dispatched=tuple(row["dispatched"]),
        left_out=tuple(row["left_out"]),
        processed=tuple(row["processed"]),
        outcome=row["outcome"],
        attempt=row["attempt"],
        dispatched_at=_time(row["dispatched_at"]),
        deadline_at=_time(row["deadline_at"]),
        ended_at=_time(row["ended_at"]),
    )


def _time(written: str | None) -> datetime | None:
    return datetime.fromisoformat(written) if written else None
