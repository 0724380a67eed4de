"""All that BOS knows, in Postgres: one row lock a batch, and one transaction for a step.

A step writes the state and what is to be sent, or neither.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, delete, func, inspect, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batch_orchestrator_service.domain.models import BatchState, Run
from batch_orchestrator_service.events.messages import OutgoingMessage
from batch_orchestrator_service.exceptions import RequestIdTakenError
from batch_orchestrator_service.implementations.postgres import rows
from batch_orchestrator_service.implementations.postgres.reading import list_open_runs, read_batch
from batch_orchestrator_service.implementations.postgres.tables import (
    AuditRow,
    Base,
    BatchRow,
    EssayRow,
    OutboxRow,
    OutputRow,
    PhaseRow,
    RequestRow,
    RunRow,
    UnusedOutcomeRow,
)
from batch_orchestrator_service.protocols import AuditEntry, StalledPhase, UnusedOutcome
from batch_orchestrator_service.signals import Signals
from service_libs.exceptions import StoreUnavailableError
from service_libs.postgres.errors import translated_errors
from service_libs.protocols import ClockProtocol

LOCK_BATCH = (
    select(BatchRow.batch_id).where(BatchRow.batch_id == bindparam("batch_id")).with_for_update()
)
ADD_BATCH = insert(BatchRow).values(batch_id=bindparam("batch_id")).on_conflict_do_nothing()


class PostgresBatchTransaction:
    """`BatchTransactionProtocol`, in a transaction that holds the lock of the batch's row."""

    def __init__(
        self, connection: AsyncConnection, state: BatchState, clock: ClockProtocol
    ) -> None:
        self._connection = connection
        self._clock = clock
        self.state = state
        self.has_messages = False

    async def save(
        self,
        state: BatchState,
        messages: Sequence[OutgoingMessage] = (),
        audit: Sequence[AuditEntry] = (),
        unused: Sequence[UnusedOutcome] = (),
    ) -> None:
        with translated_errors():
            await self._save_batch(state)
            await self._save_runs(state)
            await self._save_messages(state, messages)
            await self._save_audit(audit)
            await self._save_unused(state, unused)
        self.state = state
        self.has_messages = self.has_messages or bool(messages)

    async def _save_batch(self, state: BatchState) -> None:
        known = self.state
        values = rows.batch_values(state)
        if values != rows.batch_values(known):
            await self._connection.execute(
                update(BatchRow)
                .where(BatchRow.batch_id == state.batch_id)
                .values(**values, said_at=func.now())
            )
        await self._upsert(EssayRow, rows.essay_values(state, known.batch.texts))
        await self._upsert(OutputRow, rows.output_values(state, known))

    async def _save_runs(self, state: BatchState) -> None:
        known = {run.run_id: run for run in self.state.runs}
        gone = known.keys() - {run.run_id for run in state.runs}
        if gone:
            await self._connection.execute(delete(RunRow).where(RunRow.run_id.in_(gone)))
        # In the order in which they were accepted, by which they are read again.
        for run in state.runs:
            before = known.get(run.run_id)
            if before == run:
                continue
            await self._upsert(RunRow, [rows.run_values(state.batch_id, run)])
            await self._upsert(PhaseRow, rows.phase_values(run, before))
            now = self._clock.now()
            await self._insert_requests(rows.request_values(state, run, before, now))

    async def _insert_requests(self, values: Sequence[rows.Values]) -> None:
        if not values:
            return
        statement = insert(RequestRow).values(values).on_conflict_do_nothing()
        inserted = await self._connection.execute(statement.returning(RequestRow.request_id))
        if len(inserted.all()) < len(values):
            raise RequestIdTakenError

    async def _save_messages(self, state: BatchState, messages: Sequence[OutgoingMessage]) -> None:
        values = [
            {
                "message_id": message.message_id,
                "batch_id": state.batch_id,
                "run_id": message.run_id,
                "phase": message.phase,
                "topic": message.topic,
                "value": message.value,
                "created_at": self._clock.now(),
            }
            for message in messages
        ]
        if values:
            await self._connection.execute(insert(OutboxRow).on_conflict_do_nothing(), values)

    async def _save_audit(self, audit: Sequence[AuditEntry]) -> None:
        values = [
            {
                "at": self._clock.now(),
                "user_id": entry.request.user_id,
                "batch_id": entry.request.batch_id,
                "pipeline": entry.request.pipeline,
                "request_id": entry.request.request_id,
                "run_id": entry.run_id,
                "decision": entry.decision.value,
            }
            for entry in audit
        ]
        if values:
            await self._connection.execute(insert(AuditRow), values)

    async def _save_unused(self, state: BatchState, unused: Sequence[UnusedOutcome]) -> None:
        values = [
            {
                "at": self._clock.now(),
                "batch_id": state.batch_id,
                "correlation_id": one.outcome.correlation_id,
                "phase": one.outcome.phase,
                "status": one.outcome.status,
                "effect": one.effect.value,
            }
            for one in unused
        ]
        if values:
            await self._connection.execute(insert(UnusedOutcomeRow), values)

    async def _upsert(self, table: type[Base], values: Sequence[rows.Values]) -> None:
        if values:
            await self._connection.execute(_upsert_into(table, tuple(values[0])), values)


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


@cache
def _upsert_into(table: type[Base], names: tuple[str, ...]) -> Insert:
    """Return the statement for one row; it takes any number of them, and is compiled once."""
    statement = insert(table)
    keys = [column.name for column in inspect(table).primary_key]
    others = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=others)
