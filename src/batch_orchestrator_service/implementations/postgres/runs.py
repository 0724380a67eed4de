"""All that BOS knows, in Postgres: one row lock a batch, and one transaction for a step."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_orchestrator_service.domain.models import BatchState, Run
from batch_orchestrator_service.implementations.postgres.reading import list_open_runs, read_batch
from batch_orchestrator_service.implementations.postgres.tables import (
    BatchRow,
    PhaseRow,
    RunRow,
)
from batch_orchestrator_service.implementations.postgres.transaction import (
    PostgresBatchTransaction,
)
from batch_orchestrator_service.protocols import StalledPhase
from batch_orchestrator_service.signals import Signals
from service_libs.exceptions import StoreUnavailableError
from service_libs.postgres.errors import translated_errors
from service_libs.protocols import ClockProtocol

LOCK_BATCH = (
    select(BatchRow.batch_id).where(BatchRow.batch_id == bindparam("batch_id")).with_for_update()
)
ADD_BATCH = insert(BatchRow).values(batch_id=bindparam("batch_id")).on_conflict_do_nothing()


class PostgresRunStore:
    """`RunStoreProtocol`."""

    def __init__(
        self, engine: AsyncEngine, clock: ClockProtocol, signals: Signals | None = None
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._signals = signals or Signals()

    @asynccontextmanager
    async def lock(self, batch_id: str) -> AsyncIterator[PostgresBatchTransaction]:
        with translated_errors():
            async with self._engine.begin() as connection:
                named = {"batch_id": batch_id}
                if await connection.scalar(LOCK_BATCH, named) is None:
                    # A batch that nobody has heard of has no row to lock yet.
                    await connection.execute(ADD_BATCH, named)
                    await connection.execute(LOCK_BATCH, named)
                # By a statement of its own, which sees what was committed before the lock was had.
                state = await read_batch(connection, batch_id)
                if state is None:  # deleted, for it was old, before the lock was there
                    raise StoreUnavailableError(f"Batch {batch_id} was deleted just now.")
                transaction = PostgresBatchTransaction(connection, state, self._clock)
                yield transaction
        self._signals.tell_saved(transaction.state, has_messages=transaction.has_messages)

    async def find_state(self, batch_id: str) -> BatchState | None:
        with translated_errors():
            async with self._engine.connect() as connection:
                return await read_batch(connection, batch_id)

    async def find_overview(self, batch_id: str) -> BatchState | None:
        with translated_errors():
            async with self._engine.connect() as connection:
                return await read_batch(connection, batch_id, has_texts=False)

    async def find_due(self, now: datetime, count: int) -> Sequence[str]:
        # Only the run that is next in its batch has such a time.
        statement = (
            select(RunRow.batch_id)
            .where(RunRow.next_try_at <= now)
            .order_by(RunRow.next_try_at)
            .limit(count)
        )
        with translated_errors():
            async with self._engine.connect() as connection:
                return list((await connection.execute(statement)).scalars())

    async def find_run(self, run_id: UUID) -> str | None:
        statement = select(RunRow.batch_id).where(RunRow.run_id == run_id)
        with translated_errors():
            async with self._engine.connect() as connection:
                return (await connection.execute(statement)).scalar_one_or_none()

    async def list_open(self, count: int) -> Sequence[tuple[str, Run]]:
        with translated_errors():
            async with self._engine.connect() as connection:
                return await list_open_runs(connection, count)

    async def report_stalled(self, now: datetime) -> Sequence[StalledPhase]:
        statement = (
            update(PhaseRow)
            .where(*_is_overdue(now), PhaseRow.stall_reported_at.is_(None))
            .where(PhaseRow.run_id == RunRow.run_id)
            .values(stall_reported_at=now)
            .returning(RunRow.batch_id, PhaseRow.run_id, PhaseRow.phase, PhaseRow.deadline_at)
        )
        with translated_errors():
            async with self._engine.begin() as connection:
                found = (await connection.execute(statement)).all()
        return [
            StalledPhase(batch_id=batch, run_id=run, phase=phase, deadline_at=deadline)
            for batch, run, phase, deadline in found
            if deadline is not None
        ]

    async def count_stalled(self, now: datetime) -> int:
        statement = select(func.count()).select_from(PhaseRow).where(*_is_overdue(now))
        with translated_errors():
            async with self._engine.connect() as connection:
                return (await connection.execute(statement)).scalar_one()


def _is_overdue(now: datetime) -> tuple[Any, ...]:
    return (PhaseRow.deadline_at <= now, PhaseRow.ended_at.is_(None))
