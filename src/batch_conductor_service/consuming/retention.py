"""Whether the broker has deleted records before they were committed. It can only be told."""

import structlog

from batch_conductor_service.consuming.connection import KafkaConnection
from batch_conductor_service.metrics import Metrics

logger = structlog.get_logger(__name__)


class RetentionWatch:
    """Looks once after each assignment and each pause: else a gap would be passed by in silence."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._checked: tuple[KafkaConnection, int] | None = None

    def look_again(self) -> None:
        """Check at the next opportunity: nothing has been read for a while."""
        self._checked = None

    async def check(self, connection: KafkaConnection) -> None:
        """Tell what was deleted of the assigned partitions; before anything more is committed.

        Raises:
            PartitionsLostError: a rebalance came in between.
            BrokerUnavailableError: the broker does not say.
        """
        current = (connection, connection.assignment)
        if connection.is_rebalancing or self._checked == current:
            return
        for (topic, partition), offsets in (await connection.find_deleted()).items():
            logger.critical(
                "uncommitted_records_deleted",
                topic=topic,
                partition=partition,
                first_offset=offsets.start,
                records=len(offsets),
            )
            self._metrics.records_deleted.labels(topic, partition).inc(len(offsets))
        self._checked = current
