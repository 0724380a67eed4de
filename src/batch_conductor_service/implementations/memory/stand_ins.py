"""What there is where state or events stay in this process: nothing is sent, or shared."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog

from batch_conductor_service.domain.freshness import GroupPromises, PartitionFreshness
from batch_conductor_service.domain.resolution import SkippedPhase
from common_core.records import Partition
from service_libs.exceptions import TransientError
from service_libs.kafka.records import DeadLetter

logger = structlog.get_logger(__name__)


class NoOpDlqProducerImpl:
    """Accepts every dead letter; it is logged, and kept nowhere."""

    async def publish(self, letter: DeadLetter) -> None:
        logger.warning("dead_letter_not_sent", topic=letter.base_topic, reason=letter.reason)


class NoOpSkipEventPublisher:
    """Accepts every event; it is logged, and kept nowhere."""

    async def publish_skips(self, events: Sequence[SkippedPhase]) -> Mapping[UUID, TransientError]:
        steps = sorted({event.step for event in events})
        logger.info("skip_events_not_sent", count=len(events), steps=steps)
        return {}


class MemoryFreshnessBoard:
    """`FreshnessBoardProtocol` that keeps the last promise of each partition."""

    def __init__(self) -> None:
        self._promises: dict[Partition, PartitionFreshness] = {}

    async def exchange(self, own: Mapping[Partition, PartitionFreshness]) -> GroupPromises:
        self._promises.update(own)
        return GroupPromises(partitions=dict(self._promises))
