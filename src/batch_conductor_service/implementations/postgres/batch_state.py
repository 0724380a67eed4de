"""Batch state in Postgres: what every other store of it can be rebuilt from. Evidence as rows."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batch_conductor_service.domain.batch_state import BatchState, merge_by_batch
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.domain.statements import (
    unreadable_essay,
    unreadable_outcome,
    unreadable_registration,
)
from batch_conductor_service.implementations.postgres import sql
from batch_conductor_service.implementations.postgres.retention import NOTE_ACTIVITY
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
    SummaryReading,
)
from service_libs.exceptions import RefusedUpdateError, StoreUnavailableError
from service_libs.failpoints import failpoint
from service_libs.postgres.errors import translated_errors

ROWS_PER_STATEMENT = 10_000  # a fraction of a second of work, so that no number of rows times out
BATCHES_PER_RECOUNT = 100  # so that no number of batches times out

KeyedRow = tuple[tuple[str, ...], tuple[object, ...]]  # key columns, other columns


class PostgresBatchStateRepository:
    """Evidence as rows, merged by upsert; one transaction takes all updates of a call or none.

    `processing_pipeline_state` is recounted in that transaction and nothing here reads it: a
    summary follows from the evidence, by the same code as everywhere.
    """

    def __init__(self, engine: AsyncEngine, dependencies: StepDependencies) -> None:
        self._engine = engine
        self._dependencies = dependencies
        # What one transaction reads is of one moment: half of an update could hide a failure.
        self._reader = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    async def apply(self, updates: Sequence[BatchUpdate]) -> Sequence[str | None]:
        states = merge_by_batch(updates)
        if states:
            with translated_errors():
                async with self._engine.begin() as connection:
                    await _write(connection, states)
        return [None] * len(updates)

    async def check_schema(self) -> None:
        """Write a row of each kind and take it back.

        Raises:
            StoreUnavailableError: not even these are taken: the schema is not of this version.
        """
        try:
            with translated_errors():
                async with self._engine.connect() as connection:
                    await _write(connection, merge_by_batch([_specimen()]))
                    await connection.rollback()
        except RefusedUpdateError as exc:
            raise StoreUnavailableError("The database refuses every row.") from exc

    async def get_summary(self, batch_id: BatchId) -> SummaryReading:
        state = await self._load(batch_id)
        return SummaryReading(summary=state.summarise(self._dependencies))

    async def get_state(self, batch_id: BatchId) -> BatchState:
        return await self._load(batch_id)

    async def load_states(self, batch_ids: Sequence[BatchId]) -> dict[BatchId, BatchState]:
        """Return all that is held of these batches; those it has never heard of are left out.

        Three statements, however many batches.

        Raises:
            StoreUnavailableError: the database cannot be read now.
        """
        with translated_errors():
            async with self._reader.connect() as connection:
                return await read_states(connection, batch_ids)

    async def _load(self, batch_id: BatchId) -> BatchState:
        return (await self.load_states([batch_id])).get(batch_id) or BatchState(batch_id)


async def read_states(
    connection: AsyncConnection, batch_ids: Sequence[BatchId]
) -> dict[BatchId, BatchState]:
    """Return the states of those of the batches that have any row."""
    found: dict[BatchId, tuple[list[Any], list[Any], list[Any]]] = defaultdict(lambda: ([], [], []))
    for kind, (statement, read) in enumerate(_READS):
        for row in await connection.execute(statement, {"batch_ids": list(batch_ids)}):
            found[BatchId(row[0])][kind].append(read(row))
    return merge_by_batch(
        BatchUpdate(
            batch_id=batch_id, evidence=tuple(one), outcomes=tuple(two), registrations=tuple(three)
        )
        for batch_id, (one, two, three) in found.items()
    )


async def _write(connection: AsyncConnection, states: dict[BatchId, BatchState]) -> None:
    batch_ids = sorted(states)
    await connection.execute(sql.LOCK_BATCHES, {"batch_ids": batch_ids})
    failpoint("postgres.locked")
    for statement, parameters in _compose_merges(states.values()):
        await connection.execute(statement, parameters)
    await connection.execute(NOTE_ACTIVITY, {"batch_ids": batch_ids})
    failpoint("postgres.merged")
    for start in range(0, len(batch_ids), BATCHES_PER_RECOUNT):
        counted = {"batch_ids": batch_ids[start : start + BATCHES_PER_RECOUNT]}
        await connection.execute(sql.RECOUNT, counted)
    failpoint("postgres.uncommitted")


def _compose_merges(
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


def _specimen() -> BatchUpdate:
    """Return an update with a row for each table; what is wrong with it is not its fault."""
    step, at = StepName("step"), datetime.now(UTC)
    return BatchUpdate(
        batch_id=BatchId("specimen"),
        evidence=(unreadable_essay(EssayId("essay"), step, at),),
        outcomes=(unreadable_outcome(step, at, is_own=False),),
        registrations=(unreadable_registration(at),),
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


_READS: tuple[tuple[TextClause, Callable[[Sequence[Any]], object]], ...] = (
    (sql.SELECT_EVIDENCE, _read_evidence),
    (sql.SELECT_OUTCOMES, _read_outcome),
    (sql.SELECT_REGISTRATIONS, _read_registration),
)
