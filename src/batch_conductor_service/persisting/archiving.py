"""Bringing to Postgres what was written while Postgres was not in use.

Such a batch stands in Redis alone, and its offsets are committed: forgotten by Redis, it would be
answered for from what Postgres has, which may lack a failure.
"""

import asyncio

import structlog

from batch_conductor_service.models import BatchUpdate
from batch_conductor_service.protocols import (
    BatchStateRepositoryProtocol,
    UnarchivedBatchesProtocol,
)
from service_libs.exceptions import TransientError
from service_libs.timing import until_set

SWEEP_SECONDS = 30.0  # between two looks: a replica without Postgres may still write
BATCHES_PER_SWEEP = 100

logger = structlog.get_logger(__name__)


class UnarchivedSweeper:
    """The background task that has all of such batches queued for Postgres."""

    name = "unarchived_sweeper"

    def __init__(
        self, unarchived: UnarchivedBatchesProtocol, repository: BatchStateRepositoryProtocol
    ) -> None:
        self._unarchived = unarchived
        self._repository = repository
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.sweep()
            except TransientError as exc:
                logger.warning("unarchived_batches_postponed", reason=str(exc))
            await until_set(self._stopping, SWEEP_SECONDS)

    def stop(self) -> None:
        self._stopping.set()

    async def sweep(self) -> None:
        """Have all of them queued.

        Raises:
            TransientError: Redis cannot be reached; the rest is left for the next sweep.
        """
        while batch_ids := await self._unarchived.find(BATCHES_PER_SWEEP):
            # A batch is merged with the archive before it is written, and queued with all it has.
            await self._repository.apply([BatchUpdate(batch_id=one) for one in batch_ids])
            await self._unarchived.forget(batch_ids)
            logger.info("unarchived_batches_queued", count=len(batch_ids))
