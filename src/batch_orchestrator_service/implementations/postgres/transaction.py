"""What a step over a batch writes, in the transaction that holds the lock of the batch's row.

The state and what is to be sent, or neither.
"""

from collections.abc import Sequence
from functools import cache
from uuid import UUID

from sqlalchemy import bindparam, delete, func, inspect, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_orchestrator_service.domain.models import BatchState
from batch_orchestrator_service.events.messages import OutgoingMessage
from batch_orchestrator_service.exceptions import RequestIdTakenError
from batch_orchestrator_service.implementations.postgres import rows
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
from batch_orchestrator_service.protocols import AuditEntry, OperatorEntry, UnusedOutcome
from service_libs.postgres.errors import translated_errors
from service_libs.protocols import ClockProtocol

_DELETE_OUTPUT = delete(OutputRow).where(
    OutputRow.batch_id == bindparam("of_batch"),
    OutputRow.phase == bindparam("of_phase"),
    OutputRow.essay_id == bindparam("of_essay"),
)


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
        audit: Sequence[AuditEntry | OperatorEntry] = (),
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

    async def resend(self, message_id: UUID) -> bool:
        statement = (
            update(OutboxRow)
            .where(OutboxRow.message_id == message_id, OutboxRow.batch_id == self.state.batch_id)
            .values(sent_at=None)
            .returning(OutboxRow.message_id)
        )
        with translated_errors():
            is_there = (await self._connection.execute(statement)).first() is not None
        self.has_messages = self.has_messages or is_there
        return is_there

    async def withdraw_commands(self, run_id: UUID) -> None:
        unsent_commands = (
            delete(OutboxRow)
            .where(OutboxRow.batch_id == self.state.batch_id, OutboxRow.run_id == run_id)
            .where(OutboxRow.phase.is_not(None), OutboxRow.sent_at.is_(None))
        )
        with translated_errors():
            await self._connection.execute(unsent_commands)

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
        if gone := rows.gone_outputs(state, known):
            await self._connection.execute(_DELETE_OUTPUT, gone)

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

    async def _save_audit(self, audit: Sequence[AuditEntry | OperatorEntry]) -> None:
        now = self._clock.now()
        values = [{"at": now, **rows.audit_values(entry)} for entry in audit]
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


@cache
def _upsert_into(table: type[Base], names: tuple[str, ...]) -> Insert:
    """Return the statement for one row; it takes any number of them, and is compiled once."""
    statement = insert(table)
    keys = [column.name for column in inspect(table).primary_key]
    others = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=others)
