"""A broker in memory: logs, and groups whose members share them out. For one event loop.

What reads it as Kafka is read is in `record_source`. It can be made to fail as a broker does.
"""

import asyncio
import time
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from common_core.records import Partition
from service_libs.exceptions import BrokerUnavailableError
from service_libs.kafka.records import ConsumedRecord
from service_libs.memory.group import MemoryGroup
from service_libs.timing import until_set


@dataclass(slots=True)
class Damage:
    """Why a record cannot be read: for so many tries, or for ever."""

    failures: int | None
    is_final: bool

    def strike(self) -> bool:
        """Count a try; return whether it fails."""
        if self.failures is None:
            return True
        self.failures -= 1
        return self.failures >= 0


@dataclass(slots=True)
class PartitionLog:
    """The records by offset; None stands for a marker that ends a transaction.

    `open_from` is where an open transaction began: nothing from there on is handed out.
    """

    entries: dict[int, ConsumedRecord | None] = field(default_factory=dict)
    first: int = 0
    end: int = 0
    open_from: int | None = None
    damages: dict[int, Damage] = field(default_factory=dict)

    @property
    def readable_end(self) -> int:
        """The offset that is handed out last, and one more."""
        return self.end if self.open_from is None else self.open_from

    def read(self, position: int, count: int) -> dict[int, ConsumedRecord | None]:
        """Return the next entries in their order, so many at most."""
        offsets = range(position, min(position + count, self.readable_end))
        return {offset: self.entries[offset] for offset in offsets}


class MemoryBroker:
    """Topics, and the groups that read them.

    While it is not `is_available` whatever is asked of it fails at once; while it is silent, when
    the time-out of whoever asked has passed, and no rebalance comes to its end.
    """

    def __init__(self) -> None:
        self.logs: dict[Partition, PartitionLog] = {}
        self.is_available = True
        self._groups: defaultdict[str, MemoryGroup] = defaultdict(lambda: MemoryGroup(self))
        self._news = asyncio.Event()
        self.speaks = asyncio.Event()
        self.speaks.set()

    def group(self, group_id: str) -> MemoryGroup:
        """Return the group, which there is as soon as somebody names it."""
        return self._groups[group_id]

    def create_topic(self, topic: str, partitions: int = 1) -> None:
        """Create the topic; groups that read it share it out."""
        self.logs |= {(topic, number): PartitionLog() for number in range(partitions)}
        for group in self._groups.values():
            group.rebalance()

    def append(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        *,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> int:
        """Append a record; return its offset. Without a partition its key chooses one."""
        count = sum(name == topic for name, _ in self.logs)
        number = zlib.crc32(key or b"") % count if partition is None else partition
        log = self.logs[topic, number]
        timestamp = int(time.time() * 1000) if timestamp_ms is None else timestamp_ms
        record = ConsumedRecord(topic, number, log.end, timestamp, key, value, tuple(headers))
        return self._add(log, record)

    def open_transaction(self, partition: Partition) -> None:
        """Hide what is appended from now on."""
        self.logs[partition].open_from = self.logs[partition].end

    def end_transaction(self, partition: Partition) -> None:
        """Show it, with a marker behind it that takes an offset."""
        self.logs[partition].open_from = None
        self._add(self.logs[partition], None)

    def delete_before(self, partition: Partition, offset: int) -> None:
        """Delete the oldest records, as retention does."""
        log = self.logs[partition]
        log.first = offset
        log.entries = {one: entry for one, entry in log.entries.items() if one >= offset}

    def truncate(self, partition: Partition, end: int) -> None:
        """Lose the newest records, as a broker does that did not have them on disk."""
        log = self.logs[partition]
        log.end = end
        log.entries = {one: entry for one, entry in log.entries.items() if one < end}

    def damage(
        self, partition: Partition, offset: int, *, failures: int | None = None, is_final: bool
    ) -> None:
        """Make a record unreadable; `is_final` where the reader can see that it stays so."""
        self.logs[partition].damages[offset] = Damage(failures, is_final)

    async def answer(self, timeout_seconds: float) -> None:
        """Return if the broker answers.

        Raises:
            BrokerUnavailableError: it does not, or not in time.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.speaks.wait()
        except TimeoutError as exc:
            raise BrokerUnavailableError("Kafka does not answer in time.") from exc
        if not self.is_available:
            raise BrokerUnavailableError("No Kafka broker can be reached.")

    @property
    def can_be_read(self) -> bool:
        """Whether fetches are answered."""
        return self.is_available and self.speaks.is_set()

    async def wait_for_news(self, timeout_seconds: float) -> None:
        """Return when something was appended, or after the time-out."""
        await until_set(self._news, timeout_seconds)

    def _add(self, log: PartitionLog, entry: ConsumedRecord | None) -> int:
        log.entries[log.end] = entry
        log.end += 1
        self._news.set()
        self._news = asyncio.Event()
        return log.end - 1
