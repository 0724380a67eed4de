"""What of the records read is durable by now.

An entry id proves something only within the generation of the queue that gave it. So the
generation is learnt before the first record is applied, and when it has changed nothing in flight
proves anything any more: Redis came back without its tail, or empty, or is another server.
"""

from collections.abc import Iterable, Mapping

from batch_conductor_service.consuming.offset_ledger import OffsetLedger
from batch_conductor_service.protocols import PersistenceQueueProtocol
from common_core.records import Partition, RecordPosition
from service_libs.exceptions import ServiceError


class QueueReplacedError(ServiceError):
    """The queue is not the one that the records in flight were put into."""

    def __init__(self, replay_from: Mapping[Partition, int]) -> None:
        self.replay_from = replay_from
        super().__init__()


class DurabilityTracker:
    """The records in flight, and how far each partition may be committed.

    Without a queue nothing is mirrored to Postgres, and what was applied is as durable as it gets.
    """

    def __init__(self, queue: PersistenceQueueProtocol | None) -> None:
        self._queue = queue
        self._ledger = OffsetLedger()
        self._generation: str | None = None

    @property
    def in_flight(self) -> int:
        """How many records are read and not yet committed."""
        return len(self._ledger)

    def has_in_flight(self, partition: Partition) -> bool:
        """Whether any record of the partition is read and not yet committed."""
        return self._ledger.has_any(partition)

    @property
    def generation(self) -> str | None:
        """Names the queue that what is in flight waits in; None where there is none, or not yet."""
        return self._generation

    async def prepare(self) -> None:
        """Learn the queue's generation; to be awaited before anything is applied.

        Raises:
            TransientError: the queue cannot be read.
        """
        if self._queue is not None and self._generation is None:
            self._generation = (await self._queue.get_watermark()).generation

    def add(self, position: RecordPosition, entry_id: str | None) -> None:
        """Note a handled record; an entry id of None says that it is durable."""
        self._ledger.add(position, entry_id if self._queue is not None else None)

    async def find_commit_points(self) -> dict[Partition, int]:
        """Return the offset below which everything is held, for each partition with news.

        Raises:
            TransientError: the queue cannot be read.
            QueueReplacedError: what is in flight was forgotten, and has to be read again.
        """
        if self._queue is None:
            return self._ledger.commit_points(None)
        watermark = await self._queue.get_watermark()
        known, self._generation = self._generation, watermark.generation
        if self.in_flight and watermark.generation != known:
            replay_from = self._ledger.rewind_points()
            self._ledger.clear()
            raise QueueReplacedError(replay_from)
        return self._ledger.commit_points(watermark)

    async def measure_waiting(self) -> tuple[int, int]:
        """Return how many updates wait for Postgres, in the queue or here, and the queue's bytes.

        Raises:
            TransientError: the queue cannot be read.
        """
        if self._queue is None:
            return self.in_flight, 0
        backlog = await self._queue.get_backlog()
        return max(backlog.depth, self.in_flight), backlog.size_bytes

    def discard(self, committed: Mapping[Partition, int]) -> None:
        """Forget what is committed."""
        self._ledger.discard(committed)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Forget what is in flight of these partitions: it will be read again."""
        self._ledger.forget(partitions)

    def clear(self) -> None:
        """Forget all records in flight: whoever is given the partitions reads them again."""
        self._ledger.clear()
