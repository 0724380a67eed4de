"""What Postgres alone knows of batches, with the counts that it keeps beside the evidence."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    Executable,
    Integer,
    Text,
    bindparam,
    exists,
    func,
    or_,
    select,
    text,
    union,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.drift import ArchivedBatch
from batch_conductor_service.domain.drift_texts import StepCounts
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.postgres.reading import read_states
from batch_conductor_service.implementations.postgres.retention import STATE_TABLES
from batch_conductor_service.models import BatchId, BatchUpdate, StepName
from service_libs.postgres.errors import translated_errors

_SELECT_COUNTS = text("""
    SELECT batch_id, step_name, completed_count, failed_count, essays_total, last_observed_at
    FROM processing_pipeline_state WHERE batch_id = ANY (CAST(:batch_ids AS text[]))
""")

_COUNT = bindparam("count", type_=Integer)

# Each table gives its own first batches by its primary key; the first of all are among them.
_FIRST_BATCHES = union(
    *(
        select(table.batch_id)
        .distinct()
        .where(table.batch_id > bindparam("after"))
        .order_by(table.batch_id)
        .limit(_COUNT)
        for table in STATE_TABLES
    )
).subquery()
_LIST_BATCHES = select(_FIRST_BATCHES.c.batch_id).order_by(_FIRST_BATCHES.c.batch_id).limit(_COUNT)
_ASKED = func.unnest(bindparam("batch_ids", type_=ARRAY(Text))).column_valued("asked")
_FIND_KNOWN = select(_ASKED).where(
    or_(*(exists().where(table.batch_id == _ASKED) for table in STATE_TABLES))
)


class PostgresBatchRecords:
    """`BatchRecordsProtocol`."""

    def __init__(self, engine: AsyncEngine, store: PostgresBatchStateRepository) -> None:
        self._store = store
        # What one transaction reads is of one moment: counts are compared with their evidence.
        self._reader = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    async def read(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, ArchivedBatch]:
        with translated_errors():
            async with self._reader.connect() as connection:
                states = await read_states(connection, batch_ids)
                counted = await connection.execute(_SELECT_COUNTS, {"batch_ids": list(batch_ids)})
        counts = _by_batch(counted)
        return {
            batch_id: ArchivedBatch(
                state=states.get(batch_id) or BatchState(batch_id),
                counts=counts.get(batch_id, {}),
            )
            for batch_id in states.keys() | counts.keys()
        }

    async def list_batches(self, after: BatchId | None, count: int) -> Sequence[BatchId]:
        return await self._find_ids(_LIST_BATCHES, after=after or "", count=count)

    async def find_known(self, batch_ids: Sequence[BatchId]) -> set[BatchId]:
        return set(await self._find_ids(_FIND_KNOWN, batch_ids=list(batch_ids)))

    async def recount(self, batch_ids: Sequence[BatchId]) -> None:
        """Count as every write does, by a write that says nothing."""
        await self._store.apply([BatchUpdate(batch_id=batch_id) for batch_id in batch_ids])

    async def _find_ids(self, statement: Executable, **parameters: object) -> list[BatchId]:
        with translated_errors():
            async with self._reader.connect() as connection:
                rows = await connection.execute(statement, parameters)
                return [BatchId(row[0]) for row in rows]


def _by_batch(rows: Iterable[Sequence[Any]]) -> dict[BatchId, dict[StepName, StepCounts]]:
    counts: dict[BatchId, dict[StepName, StepCounts]] = {}
    for batch_id, step, completed, failed, essays_total, last_observed_at in rows:
        counts.setdefault(BatchId(batch_id), {})[StepName(step)] = StepCounts(
            completed=completed,
            failed=failed,
            essays_total=essays_total,
            last_observed_at=last_observed_at,
        )
    return counts
