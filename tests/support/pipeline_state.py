"""The recounted rows of `processing_pipeline_state`, as the database has and as it should."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.resolution import essays_total
from tests.support.pipelines import DEPENDENCIES

Rows = dict[str, tuple[object, ...]]  # by step: completed, failed, total, last observed

SELECT = text("""
    SELECT step_name, completed_count, failed_count, essays_total, last_observed_at
    FROM processing_pipeline_state WHERE batch_id = :batch_id
""")


async def recounted_rows(engine: AsyncEngine, batch_id: str) -> Rows:
    """Return the rows that the database has of a batch."""
    async with engine.connect() as connection:
        found = await connection.execute(SELECT, {"batch_id": batch_id})
        return {step: tuple(counts) for step, *counts in found}


def summarised_rows(state: BatchState) -> Rows:
    """Return the rows that follow from the state by the rules of the domain."""
    summary = state.summarise(DEPENDENCIES)
    total = essays_total(summary, None)
    return {
        name: (step.completed, step.failed, total, step.last_observed_at)
        for name, step in summary.steps.items()
    }
