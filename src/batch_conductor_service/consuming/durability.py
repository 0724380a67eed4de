"""What of the records read is durable by now: how far to commit, and what may be promised.

An entry id proves something only within the generation of the queue that gave it. So the
generation is learnt before the first record is applied, and when it has changed nothing in flight
proves anything any more: Redis came back without its tail, or empty, or is another server.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime

from batch_conductor_service.domain.freshness import PartitionFreshness
from batch_conductor_service.models import Watermark
from batch_conductor_service.protocols import PersistenceQueueProtocol
from common_core.records import Partition, RecordPosition
from service_libs.exceptions import ServiceError


class QueueReplacedError(ServiceError):
    """The queue is not the one that the records in flight were put into."""

    def __init__(self, replay_from: Mapping[Partition, int]) -> None:
        self.replay_from = replay_from
        super().__init__()


class OffsetLedger:
    """For each partition the (offset, queue entry) pairs in flight, in the order of the log. Pure.

    The rule of all commits stands here: never past a record that is not known to be held.

    An entry of None says that the record is already as durable as it gets: a dead letter that the
    broker has acknowledged, or an update where nothing is mirrored. Such a record still waits for
    those before it.
    """

    def __init__(self) -> None:
        self._in_flight: dict[Partition, deque[tuple[int, str | None]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._in_flight.values()))

    def add(self, position: RecordPosition, entry_id: str | None) -> None:
        """Note a record whose effect is queued under the entry, or durable.

        Raises:
            ValueError: the offset is not above the partition's last; pairs of another reading of
                the log must be forgotten first.
        """
        pairs = self._in_flight.setdefault((position.topic, position.partition), deque())
        if pairs and position.offset <= pairs[-1][0]:
            raise ValueError(f"offset {position.offset} comes after {pairs[-1][0]}")
        pairs.append((position.offset, entry_id))

    def commit_points(self, watermark: Watermark | None) -> dict[Partition, int]:
        """Return, where there is anything to commit, the offset below which everything is held."""
        points: dict[Partition, int] = {}
        is_held: dict[str | None, bool] = {}  # many records share an entry
        for partition, pairs in self._in_flight.items():
            for offset, entry_id in pairs:
                if entry_id not in is_held:
                    is_held[entry_id] = _is_held(entry_id, watermark)
                if not is_held[entry_id]:
                    break
                points[partition] = offset + 1
        return points

    def rewind_points(self) -> dict[Partition, int]:
        """Return the first offset in flight of each partition: where a replay has to begin."""
        return {partition: pairs[0][0] for partition, pairs in self._in_flight.items() if pairs}

    def has_any(self, partition: Partition) -> bool:
        """Whether any pair of the partition is in flight."""
        return bool(self._in_flight.get(partition))

    def discard(self, committed: Mapping[Partition, int]) -> None:
        """Forget the pairs below the committed offsets."""
        for partition, offset in committed.items():
            pairs = self._in_flight.get(partition, deque())
            while pairs and pairs[0][0] < offset:
                pairs.popleft()

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Forget all pairs of these partitions: they are to be read again."""
        for partition in partitions:
            self._in_flight.pop(partition, None)

    def clear(self) -> None:
        """Forget all pairs: they are another's to read, or to be read again."""
        self._in_flight.clear()


class DurabilityTracker:
    """How far each partition may be committed; `in_flight` has what is read and not committed yet.

    Without a queue nothing is mirrored to Postgres, and what was applied is as durable as it gets.
    """

    def __init__(self, queue: PersistenceQueueProtocol | None) -> None:
        self.in_flight = OffsetLedger()
        self._queue = queue
        self._generation: str | None = None
        self._archived: dict[Partition, datetime] = {}  # up to when Postgres has all there was

    async def prepare(self) -> None:
        """Learn the queue's generation; to be awaited before anything is applied.

        Raises:
            TransientError: the queue cannot be read.
        """
        if self._queue is not None and self._generation is None:
            self._generation = (await self._queue.get_watermark()).generation

    def add(self, position: RecordPosition, entry_id: str | None) -> None:
        """Note a handled record; an entry id of None says that it is durable."""
        self.in_flight.add(position, entry_id if self._queue is not None else None)

    async def find_commit_points(self) -> dict[Partition, int]:
        """Return the offset below which everything is held, for each partition with news.

        Raises:
            TransientError: the queue cannot be read.
            QueueReplacedError: what is in flight was forgotten, and has to be read again.
        """
        if self._queue is None:
            return self.in_flight.commit_points(None)
        watermark = await self._queue.get_watermark()
        known, self._generation = self._generation, watermark.generation
        if self.in_flight and watermark.generation != known:
            replay_from = self.in_flight.rewind_points()
            self.in_flight.clear()
            raise QueueReplacedError(replay_from)
        return self.in_flight.commit_points(watermark)

    async def measure_waiting(self) -> tuple[int, int]:
        """Return how many updates wait for Postgres, in the queue or here, and the queue's bytes.

        Raises:
            TransientError: the queue cannot be read.
        """
        if self._queue is None:
            return len(self.in_flight), 0
        backlog = await self._queue.get_backlog()
        return max(backlog.depth, len(self.in_flight)), backlog.size_bytes

    def promise(
        self, applied_until: Mapping[Partition, datetime]
    ) -> dict[Partition, PartitionFreshness]:
        """Return what is promised of partitions of which that much is applied.

        Where something is in flight, that is less of what Postgres has: what it had before.
        """
        flying = {partition for partition in applied_until if self.in_flight.has_any(partition)}
        self._archived |= {p: until for p, until in applied_until.items() if p not in flying}
        return {
            partition: PartitionFreshness(
                applied_until=until,
                archived_until=self._archived.get(partition),
                queue=self._generation if partition in flying else None,
            )
            for partition, until in applied_until.items()
        }


def _is_held(entry_id: str | None, watermark: Watermark | None) -> bool:
    return entry_id is None or (watermark is not None and watermark.holds(entry_id))
