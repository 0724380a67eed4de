"""Whether the broker has deleted records before they were read. It can only be told."""

import asyncio
import time

import structlog

from batch_conductor_service.metrics import Metrics
from common_core.records import Partition
from service_libs.exceptions import BrokerUnavailableError
from service_libs.protocols import RecordSourceProtocol

CHECK_SECONDS = 2  # longest wait: the consumer does nothing else meanwhile
RETRY_SECONDS = 30  # after a check that the broker did not answer

logger = structlog.get_logger(__name__)


class RetentionWatch:
    """Looks after each assignment and each pause: else a gap would be passed by in silence."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._checked: tuple[RecordSourceProtocol, int] | None = None
        self._retry_due = 0.0  # monotonic seconds
        self._told: set[tuple[Partition, int]] = set()

    async def check(self, source: RecordSourceProtocol) -> None:
        """Tell what was deleted of partitions newly assigned; before anything more is committed.

        Raises:
            PartitionsLostError: a rebalance came in between.
        """
        current = (source, source.assignment)
        is_due = self._checked != current and time.monotonic() >= self._retry_due
        if is_due and not source.is_rebalancing and await self._look(source):
            self._checked = current

    async def check_paused(self, source: RecordSourceProtocol) -> None:
        """Tell what was deleted during a pause; before anything more is read.

        Raises:
            PartitionsLostError: a rebalance came in between.
        """
        await self._look(source, unread=True)

    async def _look(self, source: RecordSourceProtocol, *, unread: bool = False) -> bool:
        """Return whether the broker has answered: one without a leader holds up nothing else."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                deleted = await source.find_deleted(unread=unread)
        except (BrokerUnavailableError, TimeoutError):
            self._retry_due = time.monotonic() + RETRY_SECONDS
            logger.warning("retention_not_checked")
            return False
        for partition, offsets in deleted.items():
            if (partition, offsets.start) not in self._told:
                self._told.add((partition, offsets.start))
                self._tell(partition, offsets)
        return True

    def _tell(self, partition: Partition, offsets: range) -> None:
        topic, number = partition
        logger.critical(
            "uncommitted_records_deleted",
            topic=topic,
            partition=number,
            first_offset=offsets.start,
            records=len(offsets),
        )
        self._metrics.records_deleted.labels(topic, number).inc(len(offsets))
