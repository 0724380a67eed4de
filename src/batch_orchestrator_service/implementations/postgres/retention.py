"""Old rows, found by an index or at a table's beginning, and deleted a few at a time.

All times are the database's own, so no clock but its own decides what is old. A batch is locked
like for any other step, so nobody works on what is deleted.
"""

from datetime import datetime

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Delete,
    Integer,
    Text,
    any_,
    bindparam,
    delete,
    exists,
    func,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batch_orchestrator_service.implementations.postgres.tables import (
    AuditRow,
    BatchRow,
    EssayRow,
    OutboxRow,
    OutputRow,
    RunRow,
    UnusedOutcomeRow,
)
from service_libs.postgres.errors import translated_errors

_COUNT = bindparam("count", type_=Integer)
_THESE = any_(bindparam("batch_ids", type_=ARRAY(Text)))


def _is_old(time: ColumnElement[datetime] | ColumnElement[datetime | None]) -> ColumnElement[bool]:
    age = func.make_interval(0, 0, 0, bindparam("days", type_=Integer))
    return time < func.now() - age


_IS_OLD_RUN = (
    _is_old(RunRow.ended_at.expression),
    ~exists().where(
        OutboxRow.batch_id == RunRow.batch_id,
        OutboxRow.run_id == RunRow.run_id,
        OutboxRow.sent_at.is_(None),
    ),
)
# A row that is locked is left for the next time.
_LOCK_BATCHES_OF_OLD_RUNS = (
    select(BatchRow.batch_id)
    .where(
        BatchRow.batch_id.in_(
            select(RunRow.batch_id).where(*_IS_OLD_RUN).order_by(RunRow.ended_at).limit(_COUNT)
        )
    )
    .order_by(BatchRow.batch_id)
    .with_for_update(skip_locked=True)
)
_OLD_RUNS = select(RunRow.run_id).where(RunRow.batch_id == _THESE, *_IS_OLD_RUN)
_DELETE_MESSAGES = delete(OutboxRow).where(
    OutboxRow.batch_id == _THESE, OutboxRow.run_id.in_(_OLD_RUNS)
)
# Its phases and its requests go with it.
_DELETE_RUNS = delete(RunRow).where(RunRow.run_id.in_(_OLD_RUNS))

_LOCK_OLD_BATCHES = (
    select(BatchRow.batch_id)
    .where(
        _is_old(BatchRow.said_at.expression),
        ~exists().where(RunRow.batch_id == BatchRow.batch_id),
        ~exists().where(OutboxRow.batch_id == BatchRow.batch_id),
    )
    .order_by(BatchRow.said_at)
    .limit(_COUNT)
    .with_for_update(skip_locked=True)
)
_DELETE_BATCHES = tuple(
    delete(row).where(row.batch_id == _THESE) for row in (EssayRow, OutputRow, BatchRow)
)


def _delete_old(row: type[AuditRow | UnusedOutcomeRow]) -> Delete:
    """Return the deletion; the oldest stand first, so nothing is searched where none is old."""
    oldest = select(row.number, row.at).order_by(row.number).limit(_COUNT).subquery()
    return delete(row).where(row.number.in_(select(oldest.c.number).where(_is_old(oldest.c.at))))


_DELETE_NOTES = (_delete_old(AuditRow), _delete_old(UnusedOutcomeRow))


class PostgresOldRecords:
    """`OldRecordsProtocol`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def delete_runs(self, days: int, count: int) -> int:
        with translated_errors():
            async with self._engine.begin() as connection:
                found = await connection.execute(
                    _LOCK_BATCHES_OF_OLD_RUNS, {"days": days, "count": count}
                )
                batches = {"batch_ids": list(found.scalars()), "days": days}
                await connection.execute(_DELETE_MESSAGES, batches)
                return (await connection.execute(_DELETE_RUNS, batches)).rowcount

    async def delete_batches(self, days: int, count: int) -> int:
        with translated_errors():
            async with self._engine.begin() as connection:
                found = await connection.execute(_LOCK_OLD_BATCHES, {"days": days, "count": count})
                batch_ids = list(found.scalars())
                return await _delete(connection, batch_ids)

    async def delete_notes(self, days: int, count: int) -> int:
        deleted = 0
        with translated_errors():
            async with self._engine.begin() as connection:
                for statement in _DELETE_NOTES:
                    ended = await connection.execute(statement, {"days": days, "count": count})
                    deleted += ended.rowcount
        return deleted


async def _delete(connection: AsyncConnection, batch_ids: list[str]) -> int:
    for statement in _DELETE_BATCHES:
        await connection.execute(statement, {"batch_ids": batch_ids})
    return len(batch_ids)
