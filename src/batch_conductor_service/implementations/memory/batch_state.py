"""Batch state in this process's memory: for tests, and for trying the service without Redis.

Nothing survives the process, so nothing of it must ever be counted as durable in production.
"""

from collections.abc import Sequence

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.models import BatchId, BatchUpdate, SummaryReading


class MockBatchStateRepositoryImpl:
    """The reference implementation: a `BatchState` for each batch."""

    def __init__(self, dependencies: StepDependencies) -> None:
        self._dependencies = dependencies
        self._batches: dict[BatchId, BatchState] = {}

    async def apply(self, updates: Sequence[BatchUpdate]) -> Sequence[str | None]:
        for update in updates:
            self._batches.setdefault(update.batch_id, BatchState(update.batch_id)).merge(update)
        return [None] * len(updates)

    async def get_summary(self, batch_id: BatchId) -> SummaryReading:
        return SummaryReading(summary=self._state(batch_id).summarise(self._dependencies))

    async def get_state(self, batch_id: BatchId) -> BatchState:
        return self._state(batch_id)

    def _state(self, batch_id: BatchId) -> BatchState:
        return self._batches.get(batch_id, BatchState(batch_id))
