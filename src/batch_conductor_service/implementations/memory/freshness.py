"""The freshness of the only replica that there can be: state in memory is shared with nobody."""

from collections.abc import Mapping

from batch_conductor_service.domain.freshness import GroupPromises, PartitionFreshness
from common_core.records import Partition


class MemoryFreshnessBoard:
    """`FreshnessBoardProtocol` that keeps what was told last of each partition."""

    def __init__(self) -> None:
        self._told: dict[Partition, PartitionFreshness] = {}

    async def exchange(self, own: Mapping[Partition, PartitionFreshness]) -> GroupPromises:
        self._told.update(own)
        return GroupPromises(partitions=dict(self._told))
