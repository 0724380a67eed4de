"""Batch state in Postgres: what every other store of it can be rebuilt from. Evidence as rows."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.domain.statements import (
    unreadable_essay,
    unreadable_outcome,
    unreadable_registration,
)
from batch_conductor_service.implementations.postgres import sql
from batch_conductor_service.implementations.postgres.reading import read_states
from batch_conductor_service.implementations.postgres.retention import NOTE_ACTIVITY
from batch_conductor_service.models import (
    BatchId,
    BatchUpdate,
    EssayId,
    StepName,
    SummaryReading,
)
from service_libs.exceptions import RefusedUpdateError, StoreUnavailableError
from service_libs.failpoints import failpoint
from service_libs.postgres.errors import translated_errors
from service_libs.timing import in_turns

ROWS_PER_STATEMENT = 250  # a millisecond of a process that has others to answer
BATCHES_PER_RECOUNT = 100  # so that no number of batches times out

States = Mapping[BatchId, BatchState]
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
        states: dict[BatchId, BatchState] = {}
        async for update in in_turns(updates):
            states.setdefault(update.batch_id, BatchState(update.batch_id)).merge(update)
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
        specimen = _specimen()
        try:
            with translated_errors():
                async with self._engine.connect() as connection:
                    await _write(connection, {specimen.batch_id: specimen})
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


async def _write(connection: AsyncConnection, states: States) -> None:
    batch_ids = sorted(states)
    await connection.execute(sql.LOCK_BATCHES, {"batch_ids": batch_ids})
    failpoint("postgres.locked")
    for statement, parameters in _compose_merges(states):
        await connection.execute(statement, parameters)
    await connection.execute(NOTE_ACTIVITY, {"batch_ids": batch_ids})
    failpoint("postgres.merged")
    for start in range(0, len(batch_ids), BATCHES_PER_RECOUNT):
        counted = {"batch_ids": batch_ids[start : start + BATCHES_PER_RECOUNT]}
        await connection.execute(sql.RECOUNT, counted)
    failpoint("postgres.uncommitted")


def _compose_merges(states: States) -> Iterator[tuple[TextClause, dict[str, list[object]]]]:
    """Yield the statements, with their parameters, that merge the states into the tables."""
    for statement, names, rows_of in _MERGES:
        keyed = (row for batch_id in sorted(states) for row in sorted(rows_of(states[batch_id])))
        rows = ((*key, *values) for key, values in keyed)
        while some := list(islice(rows, ROWS_PER_STATEMENT)):
            columns = map(list, zip(*some, strict=True))
            yield statement, dict(zip(names, columns, strict=True))


def _specimen() -> BatchState:
    """Return a state with a row for each table; what is wrong with it is not its fault."""
    step, at, state = StepName("step"), datetime.now(UTC), BatchState(BatchId("specimen"))
    state.merge(
        BatchUpdate(
            batch_id=state.batch_id,
            evidence=(unreadable_essay(EssayId("essay"), step, at),),
            outcomes=(unreadable_outcome(step, at, is_own=False),),
            registrations=(unreadable_registration(at),),
        )
    )
    return state


def _evidence_rows(state: BatchState) -> Iterator[KeyedRow]:
    for item in state.as_update().evidence:
        stated = item.evidence
        key = (state.batch_id, item.essay_id, item.step, item.source)
        yield key, (stated.status, stated.occurred_at, stated.storage_id)


def _outcome_rows(state: BatchState) -> Iterator[KeyedRow]:
    for item in state.reports().outcomes:
        key = (state.batch_id, item.step, item.fingerprint)
        yield key, (item.occurred_at, item.status, item.verdict, item.reported_total)


def _registration_rows(state: BatchState) -> Iterator[KeyedRow]:
    for item in state.reports().registrations:
        ids = json.dumps(item.essay_ids)
        values = (item.occurred_at, item.repeated_at, item.essays_total, ids)
        yield (state.batch_id, item.fingerprint), values


_MERGES: tuple[
    tuple[TextClause, tuple[str, ...], Callable[[BatchState], Iterator[KeyedRow]]], ...
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
