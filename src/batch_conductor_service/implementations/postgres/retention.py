"""Batches that nothing was said of for long: found by one index, and deleted one at a time.

All times are the database's own, so no clock but its own decides what is old.
"""

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import bindparam, delete, text
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.implementations.postgres import sql
from batch_conductor_service.implementations.postgres.tables import (
    BatchRegistrationRow,
    EssayStepEvidenceRow,
    PhaseOutcomeRow,
    PipelineStateRow,
)
from batch_conductor_service.models import BatchId, IdleBatch
from service_libs.postgres.errors import translated_errors

# To the hour, so that a batch that is written all the time is not written here each time.
NOTE_ACTIVITY = text("""
    INSERT INTO batch_activity AS known (batch_id, last_said_at)
    SELECT batch_id, now() FROM unnest(CAST(:batch_ids AS text[])) AS batch_id
    ON CONFLICT (batch_id) DO UPDATE SET last_said_at = EXCLUDED.last_said_at
    WHERE known.last_said_at < EXCLUDED.last_said_at - interval '1 hour'
""")

_FIND_IDLE = text("""
    SELECT batch_id, last_said_at FROM batch_activity
    WHERE last_said_at < now() - make_interval(days => CAST(:days AS integer))
        AND (last_said_at, batch_id)
            > (COALESCE(CAST(:after_time AS timestamptz), '-infinity'), CAST(:after_id AS text))
    ORDER BY last_said_at, batch_id LIMIT :count
""")

# By the time the lock is there, others may have written the batch.
_FORGET_ACTIVITY = text("""
    DELETE FROM batch_activity
    WHERE batch_id = :batch_id
        AND last_said_at < now() - make_interval(days => CAST(:days AS integer))
""")

# Where what is known of batches is kept.
STATE_TABLES = (EssayStepEvidenceRow, PhaseOutcomeRow, BatchRegistrationRow, PipelineStateRow)
_DELETIONS = tuple(
    delete(table).where(table.batch_id == bindparam("batch_id")) for table in STATE_TABLES
)


class PostgresIdleBatches:
    """`IdleBatchesProtocol`, under the lock that every write of a batch takes."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def find(self, days: int, after: IdleBatch | None, count: int) -> Sequence[IdleBatch]:
        with translated_errors():
            async with self._engine.connect() as connection:
                rows = await connection.execute(
                    _FIND_IDLE,
                    {
                        "days": days,
                        "after_time": after.last_said_at if after else None,
                        "after_id": after.batch_id if after else "",
                        "count": count,
                    },
                )
                return [IdleBatch(BatchId(batch_id), last) for batch_id, last in rows]

    async def delete(
        self, batch_id: BatchId, days: int, may_go: Callable[[], Awaitable[bool]]
    ) -> bool:
        with translated_errors():
            async with self._engine.begin() as connection:
                await connection.execute(sql.LOCK_BATCHES, {"batch_ids": [batch_id]})
                forgotten = await connection.execute(
                    _FORGET_ACTIVITY, {"batch_id": batch_id, "days": days}
                )
                if not forgotten.rowcount:
                    return False
                if not await may_go():
                    await connection.rollback()
                    return False
                for statement in _DELETIONS:
                    await connection.execute(statement, {"batch_id": batch_id})
        return True
