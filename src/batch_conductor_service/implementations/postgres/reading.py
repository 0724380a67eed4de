"""Rows as the states of batches."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.implementations.postgres import sql
from batch_conductor_service.models import (
    BatchId,
    BatchRegistration,
    BatchUpdate,
    EssayEvidence,
    EssayId,
    OutcomeVerdict,
    PhaseOutcome,
    ProcessingStepStatus,
    StepEvidence,
    StepName,
)


async def read_states(
    connection: AsyncConnection, batch_ids: Sequence[BatchId]
) -> dict[BatchId, BatchState]:
    """Return the states of those of the batches that have any row."""
    found: dict[BatchId, tuple[list[Any], list[Any], list[Any]]] = defaultdict(lambda: ([], [], []))
    for kind, (statement, read) in enumerate(_READS):
        for row in await connection.execute(statement, {"batch_ids": list(batch_ids)}):
            found[BatchId(row[0])][kind].append(read(row))
    states = {batch_id: BatchState(batch_id) for batch_id in found}
    for batch_id, (one, two, three) in found.items():
        said = BatchUpdate(batch_id=batch_id, evidence=tuple(one), outcomes=tuple(two))
        states[batch_id].merge(replace(said, registrations=tuple(three)))
    return states


def _read_evidence(columns: Sequence[Any]) -> EssayEvidence:
    _, essay_id, step, source, status, occurred_at, storage_id = columns
    return EssayEvidence(
        essay_id=EssayId(essay_id),
        step=StepName(step),
        source=source,
        evidence=StepEvidence(
            status=ProcessingStepStatus(status),
            occurred_at=_aware(occurred_at),
            storage_id=storage_id,
        ),
    )


def _read_outcome(columns: Sequence[Any]) -> PhaseOutcome:
    _, step, fingerprint, occurred_at, status, verdict, reported_total = columns
    return PhaseOutcome(
        step=StepName(step),
        fingerprint=fingerprint,
        occurred_at=_aware(occurred_at),
        status=status,
        verdict=OutcomeVerdict(verdict),
        reported_total=reported_total,
    )


def _read_registration(columns: Sequence[Any]) -> BatchRegistration:
    _, fingerprint, occurred_at, repeated_at, essays_total, essay_ids = columns
    return BatchRegistration(
        fingerprint=fingerprint,
        occurred_at=_aware(occurred_at),
        repeated_at=_aware(repeated_at or occurred_at),
        essays_total=essays_total,
        essay_ids=tuple(map(EssayId, essay_ids)),
    )


def _aware(time: datetime) -> datetime:
    """Return the time with its zone, which the driver leaves out of the first and the last time."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


_READS: tuple[tuple[TextClause, Callable[[Sequence[Any]], object]], ...] = (
    (sql.SELECT_EVIDENCE, _read_evidence),
    (sql.SELECT_OUTCOMES, _read_outcome),
    (sql.SELECT_REGISTRATIONS, _read_registration),
)
