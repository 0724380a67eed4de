"""What running consumers are asked to read again: a row for each partition, for an hour.

All times are the database's own.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batch_orchestrator_service.implementations.postgres.tables import ReplayRow
from common_core.records import Partition
from service_libs.kafka.records import ReplayRequest
from service_libs.postgres.errors import translated_errors

LIFE = timedelta(hours=1)
SUBMIT_LOCK = 5000_0003  # any number that nothing else locks in this database


class PostgresReplayRequests:
    """`ReplayRequestsProtocol`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def submit(self, offsets: Mapping[Partition, int]) -> str:
        request_id = uuid4().hex
        with translated_errors():
            async with self._engine.begin() as connection:
                await connection.execute(select(func.pg_advisory_xact_lock(SUBMIT_LOCK)))
                # Whoever settles one of the rows waits for the new request, and then finds none.
                earlier = await _find(connection, is_locked=True)
                wanted = dict(offsets)
                for partition, offset in earlier.offsets.items() if earlier else ():
                    wanted[partition] = min(offset, wanted.get(partition, offset))
                await connection.execute(delete(ReplayRow))
                rows = [
                    {"request_id": request_id, "topic": topic, "partition": number, "first": first}
                    for (topic, number), first in wanted.items()
                ]
                await connection.execute(insert(ReplayRow), rows)
        return request_id

    async def find(self) -> ReplayRequest | None:
        with translated_errors():
            async with self._engine.connect() as connection:
                return await _find(connection)

    async def settle(self, request_id: str, partitions: Sequence[Partition]) -> None:
        statement = update(ReplayRow).where(ReplayRow.request_id == request_id)
        with translated_errors():
            async with self._engine.begin() as connection:
                for topic, number in sorted(partitions):
                    await connection.execute(
                        statement.where(
                            ReplayRow.topic == topic, ReplayRow.partition == number
                        ).values(is_settled=True)
                    )


async def _find(connection: AsyncConnection, *, is_locked: bool = False) -> ReplayRequest | None:
    statement = (
        select(ReplayRow.__table__)
        .where(ReplayRow.asked_at > func.now() - LIFE)
        .order_by(ReplayRow.topic, ReplayRow.partition)
    )
    found = (
        await connection.execute(statement.with_for_update() if is_locked else statement)
    ).all()
    if not found:
        return None
    return ReplayRequest(
        request_id=found[0].request_id,
        offsets={(row.topic, row.partition): row.first for row in found if not row.is_settled},
        settled=frozenset((row.topic, row.partition) for row in found if row.is_settled),
    )
