"""Between a batch's evidence and rows. No I/O."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import TextClause

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

ROWS_PER_STATEMENT = 10_000  # a fraction of a second of work, so that no number of rows times out

KeyedRow = tuple[tuple[str, ...], tuple[object, ...]]  # key columns, other columns


def merge_by_batch(updates: Iterable[BatchUpdate]) -> dict[BatchId, BatchState]:
    """Return what the updates say together: no key is in it twice, as an upsert demands."""
    states: dict[BatchId, BatchState] = {}
    for update in updates:
        states.setdefault(update.batch_id, BatchState(update.batch_id)).merge(update)
    return states


def compose_merges(
    states: Iterable[BatchState],
) -> Iterator[tuple[TextClause, dict[str, Sequence[object]]]]:
    """Return the statements, with their parameters, that merge the states into the tables."""
    updates = [state.as_update() for state in states]
    for statement, names, rows_of in _MERGES:
        rows = sorted((row for u in updates for row in rows_of(u)), key=lambda row: row[0])
        for start in range(0, len(rows), ROWS_PER_STATEMENT):
            chunk = rows[start : start + ROWS_PER_STATEMENT]
            columns = zip(*((*key, *values) for key, values in chunk), strict=True)
            yield statement, dict(zip(names, map(list, columns), strict=True))


def read_states(
    evidence: Iterable[Sequence[Any]],
    outcomes: Iterable[Sequence[Any]],
    registrations: Iterable[Sequence[Any]],
) -> dict[BatchId, BatchState]:
    """Return the states of the batches that the rows are about."""
    found: dict[BatchId, tuple[list[Any], list[Any], list[Any]]] = defaultdict(lambda: ([], [], []))
    kinds = (
        (evidence, _read_evidence),
        (outcomes, _read_outcome),
        (registrations, _read_registration),
    )
    for kind, (rows, read) in enumerate(kinds):
        for row in rows:
            found[BatchId(row[0])][kind].append(read(row))
    return merge_by_batch(
        BatchUpdate(
            batch_id=batch_id, evidence=tuple(one), outcomes=tuple(two), registrations=tuple(three)
        )
        for batch_id, (one, two, three) in found.items()
    )


def _evidence_rows(update: BatchUpdate) -> Iterator[KeyedRow]:
    for item in update.evidence:
        stated = item.evidence
        key = (update.batch_id, item.essay_id, item.step, item.source)
        yield key, (stated.status, stated.occurred_at, stated.storage_id)


def _outcome_rows(update: BatchUpdate) -> Iterator[KeyedRow]:
    for item in update.outcomes:
        key = (update.batch_id, item.step, item.fingerprint)
        yield key, (item.occurred_at, item.status, item.verdict, item.reported_total)


def _registration_rows(update: BatchUpdate) -> Iterator[KeyedRow]:
    for item in update.registrations:
        key = (update.batch_id, item.fingerprint)
        ids = json.dumps(item.essay_ids)
        yield key, (item.occurred_at, item.repeated_at, item.essays_total, ids)


_MERGES: tuple[
    tuple[TextClause, tuple[str, ...], Callable[[BatchUpdate], Iterator[KeyedRow]]], ...
] = (
    (
        sql.MERGE_EVIDENCE,
        ("batch_ids", "essay_ids", "step_names", "sources", "statuses", "times", "storage_ids"),
        _evidence_rows,
    ),
    (
        sql.MERGE_OUTCOMES,
        (
            "batch_ids",
            "step_names",
            "fingerprints",
            "times",
            "statuses",
            "verdicts",
            "reported_totals",
        ),
        _outcome_rows,
    ),
    (
        sql.MERGE_REGISTRATIONS,
        ("batch_ids", "fingerprints", "times", "repeated", "essays_totals", "essay_ids"),
        _registration_rows,
    ),
)


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
