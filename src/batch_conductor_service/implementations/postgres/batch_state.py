"""Batch state in Postgres: what every other store of it can be rebuilt from."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.domain.statements import (
    unreadable_essay,
    unreadable_outcome,
    unreadable_registration,
)
from batch_conductor_service.implementations.postgres import sql
from batch_conductor_service.implementations.postgres.retention import NOTE_ACTIVITY
from batch_conductor_service.implementations.postgres.rows import (
    compose_merges,
    merge_by_batch,
    read_states,
)
from batch_conductor_service.models import (
    BatchId,
    BatchUpdate,
    EssayId,
    StepName,
)
from batch_conductor_service.port_values import SummaryReading
from service_libs.exceptions import RefusedUpdateError, StoreUnavailableError
from service_libs.failpoints import failpoint
from service_libs.postgres.errors import translated_errors

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
        parameters = {"batch_ids": list(batch_ids)}
        with translated_errors():
            async with self._reader.connect() as connection:
                evidence = await connection.execute(sql.SELECT_EVIDENCE, parameters)
                outcomes = await connection.execute(sql.SELECT_OUTCOMES, parameters)
                registrations = await connection.execute(sql.SELECT_REGISTRATIONS, parameters)
        return read_states(evidence, outcomes, registrations)

    async def _load(self, batch_id: BatchId) -> BatchState:
        return (await self.load_states([batch_id])).get(batch_id) or BatchState(batch_id)


async def _write(connection: AsyncConnection, states: dict[BatchId, BatchState]) -> None:
    batch_ids = sorted(states)
    await connection.execute(sql.LOCK_BATCHES, {"batch_ids": batch_ids})
    failpoint("postgres.locked")
    for statement, parameters in compose_merges(states.values()):
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
