"""Which records are on their way to Postgres, and up to where each partition is held.

Pure. The rule of all commits stands here: never past a record that is not known to be held.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import takewhile

from batch_conductor_service.port_values import Watermark
from common_core.records import Partition, RecordPosition


class OffsetLedger:
    """For each partition the (offset, queue entry) pairs in flight, in the order of the log.

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
        points = {}
        for partition, pairs in self._in_flight.items():
            held = takewhile(lambda pair: _is_held(pair[1], watermark), pairs)
            last = deque((offset for offset, _ in held), maxlen=1)
            if last:
                points[partition] = last[0] + 1
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


def _is_held(entry_id: str | None, watermark: Watermark | None) -> bool:
    return entry_id is None or (watermark is not None and watermark.holds(entry_id))
