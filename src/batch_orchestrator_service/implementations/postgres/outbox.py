"""The outbox in Postgres, sent by one process at a time."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, cast, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batch_orchestrator_service.domain.states import PhaseStatus
from batch_orchestrator_service.events.messages import OutgoingMessage
from batch_orchestrator_service.implementations.postgres.tables import OutboxRow, PhaseRow
from batch_orchestrator_service.protocols import Backlog
from service_libs.postgres.errors import translated_errors

RELAY_LOCK = 5000_0001  # any number that nothing else locks in this database


class PostgresOutboxLease:
    """`OutboxLeaseProtocol` over the connection that holds the lock, which ends with it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def read(self, count: int, *, after: int) -> Sequence[OutgoingMessage]:
        statement = (
            select(OutboxRow.__table__)
            .where(OutboxRow.sent_at.is_(None), OutboxRow.number > after)
            .order_by(OutboxRow.number)
            .limit(count)
        )
        with translated_errors():
            found = (await self._connection.execute(statement)).all()
        return [
            OutgoingMessage(
                message_id=row.message_id,
                run_id=row.run_id,
                phase=row.phase,
                topic=row.topic,
                key=row.batch_id.encode(),
                value=row.value,
                number=row.number,
            )
            for row in found
        ]

    async def mark_sent(self, message_ids: Sequence[UUID], now: datetime) -> None:
        # An array, for the statement is the same then, however many they are.
        ids = cast(list(message_ids), ARRAY(Uuid))
        sent = (
            update(OutboxRow)
            .where(OutboxRow.message_id == any_(ids))
            .values(sent_at=now)
            .returning(OutboxRow.run_id, OutboxRow.phase)
            .cte("sent")
        )
        begun = (
            update(PhaseRow)
            .where(PhaseRow.run_id == sent.c.run_id, PhaseRow.phase == sent.c.phase)
            .where(PhaseRow.status == PhaseStatus.DISPATCH_INITIATED.value)
            .values(status=PhaseStatus.IN_PROGRESS.value)
        )
        with translated_errors():
            await self._connection.execute(begun)


class PostgresOutbox:
    """`OutboxProtocol`; who leads holds an advisory lock of the database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def lead(self) -> AsyncIterator[PostgresOutboxLease | None]:
        with translated_errors():
            async with self._engine.connect() as opened:
                connection = await opened.execution_options(isolation_level="AUTOCOMMIT")
                lock = select(func.pg_try_advisory_lock(RELAY_LOCK))
                if not (await connection.execute(lock)).scalar_one():
                    yield None
                    return
                try:
                    yield PostgresOutboxLease(connection)
                finally:
                    # Closed and not returned to the pool: the lock goes with the connection.
                    await connection.invalidate()

    async def get_backlog(self, now: datetime) -> Backlog:
        statement = select(func.count(), func.min(OutboxRow.created_at)).where(
            OutboxRow.sent_at.is_(None)
        )
        with translated_errors():
            async with self._engine.connect() as connection:
                depth, oldest = (await connection.execute(statement)).one()
        age = max(0.0, (now - oldest).total_seconds()) if depth else 0.0
        return Backlog(depth=depth, oldest_age_seconds=age)
