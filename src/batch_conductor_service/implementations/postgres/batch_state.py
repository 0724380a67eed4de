"""Batch state in Postgres: what every other store of it can be rebuilt from. Evidence as rows."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
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
from batch_conductor_service.implementations.postgres.rows import Rows
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

UPDATES_AT_ONCE = 200  # taken in before others in the process have their turn
BATCHES_PER_RECOUNT = 100  # so that no number of batches times out


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
        rows = Rows()
        for start in range(0, len(updates), UPDATES_AT_ONCE):
            for update in updates[start : start + UPDATES_AT_ONCE]:
                rows.add(update)
            await asyncio.sleep(0)
        if rows.batch_ids:
            with translated_errors():
                async with self._engine.begin() as connection:
                    await _write(connection, rows)
        return [None] * len(updates)

    async def check_schema(self) -> None:
        """Write a row of each kind and take it back.

        Raises:
            StoreUnavailableError: not even these are taken: the schema is not of this version.
        """
        rows = Rows()
        rows.add(_specimen())
        try:
            with translated_errors():
                async with self._engine.connect() as connection:
                    await _write(connection, rows)
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


async def _write(connection: AsyncConnection, rows: Rows) -> None:
    batch_ids = rows.batch_ids
    await connection.execute(sql.LOCK_BATCHES, {"batch_ids": batch_ids})
    failpoint("postgres.locked")
    for statement, parameters in rows.compose_merges():
        await connection.execute(statement, parameters)
    await connection.execute(NOTE_ACTIVITY, {"batch_ids": batch_ids})
    failpoint("postgres.merged")
    for start in range(0, len(batch_ids), BATCHES_PER_RECOUNT):
        counted = {"batch_ids": batch_ids[start : start + BATCHES_PER_RECOUNT]}
        await connection.execute(sql.RECOUNT, counted)
    failpoint("postgres.uncommitted")


def _specimen() -> BatchUpdate:
    """Return an update with a row for each table; what is wrong with it is not its fault."""
    step, at = StepName("step"), datetime.now(UTC)
    return BatchUpdate(
        batch_id=BatchId("specimen"),
        evidence=(unreadable_essay(EssayId("essay"), step, at),),
        outcomes=(unreadable_outcome(step, at, is_own=False),),
        registrations=(unreadable_registration(at),),
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
