"""What this consumer promises of the partitions that it reads."""

from datetime import datetime

from batch_conductor_service.consuming.durability import DurabilityTracker
from batch_conductor_service.domain.freshness import PartitionFreshness
from common_core.records import Partition
from service_libs.kafka.reading_progress import ReadingProgress


class OwnFreshness:
    """Puts together up to when everything is applied, and what of that is still in flight.

    Without a connection there is no promise. One that was given before stays true, and ages.
    """

    def __init__(self, tracker: DurabilityTracker) -> None:
        self._tracker = tracker
        self._progress: ReadingProgress | None = None
        self._archived: dict[Partition, datetime] = {}

    def follow(self, progress: ReadingProgress | None) -> None:
        """Promise what this reading shows from now on; or nothing, before it is abandoned."""
        self._progress = progress

    def tell(self) -> dict[Partition, PartitionFreshness]:
        """Return what is promised of each partition, where anything is."""
        if self._progress is None:
            return {}
        return {
            partition: self._promise(partition, until)
            for partition, until in self._progress.applied_until().items()
        }

    def _promise(self, partition: Partition, until: datetime) -> PartitionFreshness:
        if self._tracker.has_in_flight(partition):
            return PartitionFreshness(
                applied_until=until,
                archived_until=self._archived.get(partition),
                queue=self._tracker.generation,
            )
        self._archived[partition] = until
        return PartitionFreshness(applied_until=until, archived_until=until)
