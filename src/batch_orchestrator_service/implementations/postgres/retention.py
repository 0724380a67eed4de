"""Old rows, found by an index or at a table's beginning, and deleted a few at a time.

All times are the database's own, so no clock but its own decides what is old. A batch is locked
like for any other step, so nobody works on what is deleted.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service_libs.postgres.errors import translated_errors

_IS_OLD = "now() - make_interval(days => CAST(:days AS integer))"

# A row that is locked is left for the next time.
_LOCK_BATCHES_OF_OLD_RUNS = text(f"""
    SELECT batch_id FROM bos.batches WHERE batch_id IN (
        SELECT batch_id FROM bos.pipeline_runs AS run
        WHERE ended_at < {_IS_OLD} AND NOT EXISTS (
            SELECT FROM bos.outbox
            WHERE outbox.batch_id = run.batch_id AND outbox.run_id = run.run_id
                AND sent_at IS NULL
        )
        ORDER BY ended_at LIMIT :count
    )
    ORDER BY batch_id FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - of ours
_OLD_RUNS = f"""
    SELECT run_id FROM bos.pipeline_runs AS run
    WHERE batch_id = ANY(:batch_ids) AND ended_at < {_IS_OLD} AND NOT EXISTS (
        SELECT FROM bos.outbox
        WHERE outbox.batch_id = run.batch_id AND outbox.run_id = run.run_id AND sent_at IS NULL
    )
"""  # noqa: S608 - of ours
_DELETE_MESSAGES = text(f"""
    DELETE FROM bos.outbox WHERE batch_id = ANY(:batch_ids) AND run_id IN ({_OLD_RUNS})
""")  # noqa: S608 - of ours
# Its phases and its requests go with it.
_DELETE_RUNS = text(f"DELETE FROM bos.pipeline_runs WHERE run_id IN ({_OLD_RUNS})")  # noqa: S608 - of ours

_LOCK_OLD_BATCHES = text(f"""
    SELECT batch_id FROM bos.batches AS batch
    WHERE said_at < {_IS_OLD}
        AND NOT EXISTS (SELECT FROM bos.pipeline_runs AS run WHERE run.batch_id = batch.batch_id)
        AND NOT EXISTS (SELECT FROM bos.outbox WHERE outbox.batch_id = batch.batch_id)
    ORDER BY said_at LIMIT :count FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - of ours
_DELETE_BATCHES = tuple(
    text(f"DELETE FROM bos.{table} WHERE batch_id = ANY(:batch_ids)")  # noqa: S608 - names of ours
    for table in ("batch_essays", "phase_outputs", "batches")
)

# The oldest stand first, so nothing is searched where none is old.
_DELETE_NOTES = tuple(
    text(f"""
        DELETE FROM bos.{table} WHERE number IN (
            SELECT number FROM (
                SELECT number, at FROM bos.{table} ORDER BY number LIMIT :count
            ) AS oldest
            WHERE at < {_IS_OLD}
        )
    """)  # noqa: S608 - names of ours
    for table in ("audit", "unused_outcomes")
)


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
