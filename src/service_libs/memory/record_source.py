"""`RecordSourceProtocol` over a broker in memory: what the real source promises, without Kafka."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence

import structlog

from common_core.records import Partition
from service_libs.exceptions import BrokerUnavailableError
from service_libs.kafka.patience import UnreadablePollError
from service_libs.kafka.policy import SourcePolicy
from service_libs.kafka.reading_progress import FetchAnswer, ReadingProgress
from service_libs.kafka.records import ConsumedRecord, PartitionsLostError, Poll
from service_libs.memory.broker import MemoryBroker, PartitionLog
from service_libs.protocols import ClockProtocol, OnRevoked

logger = structlog.get_logger(__name__)


class MemoryRecordSource:
    """A member of a group in memory."""

    def __init__(
        self,
        broker: MemoryBroker,
        policy: SourcePolicy,
        topics: Sequence[str],
        on_revoked: OnRevoked,
        clock: ClockProtocol,
    ) -> None:
        self.policy = policy
        self.topics = topics
        self.assignment = 0
        self.committed: dict[Partition, int] = {}
        self.progress = ReadingProgress()
        self.is_rebalancing = True
        self.is_closed = False
        self._broker = broker
        self._group = broker.group(policy.group_id)
        self._on_revoked = on_revoked
        self._clock = clock
        self._positions: dict[Partition, int] = {}  # of what is assigned
        self._paused: set[Partition] = set()
        self._is_stalled = False
        self._settled = asyncio.Event()  # set while it is known which partitions are ours
        self._idle = asyncio.Event()  # set while no revocation is under way
        self._idle.set()

    @property
    def has_partitions(self) -> bool:
        return bool(self._positions)

    @property
    def is_paused(self) -> bool:
        return bool(self._paused)

    async def open(self) -> None:
        await self._ask()
        self._group.join(self)

    async def close(self) -> bool:
        self.is_closed = True
        try:
            async with asyncio.timeout(self.policy.drain_timeout_seconds):
                await self._idle.wait()
            if self in self._group.members:
                await self._broker.answer(self.policy.request_timeout_seconds)
        except (BrokerUnavailableError, TimeoutError):
            return False
        self._group.leave(self)
        self._positions = {}
        return True

    async def abandon(self) -> None:
        self.is_closed = True
        self._group.expire(self)

    async def poll(self) -> Poll:
        # Not the loop's time, which uvloop looks at once a turn, to the millisecond.
        deadline = time.monotonic() + self.policy.commit_interval_seconds
        while True:
            await self._settled.wait()
            self._check_open()
            records = self._fetch() if self._can_fetch else []
            left = deadline - time.monotonic()
            if records or left <= 0:
                return Poll(records, self.assignment)
            await self._broker.wait_for_news(min(left, self.policy.fetch_wait_seconds))

    async def commit(self, points: Mapping[Partition, int]) -> None:
        await self._ask()
        if self not in self._group.members or not points.keys() <= self._positions.keys():
            raise PartitionsLostError
        self._group.committed.update(points)
        self.committed.update(points)

    def rewind(self, points: Mapping[Partition, int]) -> None:
        mine = {one: offset for one, offset in points.items() if one in self._positions}
        self._positions |= mine
        self.progress.rewind(mine)

    def is_assigned(self, partition: Partition) -> bool:
        return partition in self._positions

    async def get_committed(self, partition: Partition) -> int | None:
        await self._ask()
        return self._group.committed.get(partition)

    async def find_deleted(self, *, unread: bool = False) -> dict[Partition, range]:
        await self._ask_of_partitions()
        reached = self._positions if unread else self._group.committed
        firsts = {partition: self._log(partition).first for partition in self._positions}
        return {
            partition: range(reached[partition], first)
            for partition, first in firsts.items()
            if reached.get(partition, first) < first
        }

    def pause(self) -> None:
        self._paused = set(self._positions)

    def resume(self) -> None:
        self._paused.clear()

    async def is_stuck(self) -> bool:
        if self.is_rebalancing:
            return True
        await self._ask_of_partitions()
        return bool(self._unread())

    def stall(self) -> None:
        """Fetch nothing more and say nothing of it, as a client does whose fetcher has died."""
        self._is_stalled = True

    async def give_up(self) -> None:
        """Have what is in hand finished and drained, then make the rest stale. By the group."""
        self.is_rebalancing = True
        self._settled.clear()
        self._idle.clear()
        try:
            if self._positions:
                await self._on_revoked(self)
        finally:
            self.assignment += 1
            self.committed.clear()
            self.progress.clear()
            self._positions = {}
            self._paused.clear()
            self._idle.set()

    def take(self, partitions: Collection[Partition]) -> None:
        """Read these, from where the group is. By the group."""
        committed = self._group.committed
        self._positions = {p: committed.get(p, self._log(p).first) for p in partitions}
        self.is_rebalancing = False
        self._settled.set()
        logger.info("partitions_assigned", partitions=len(partitions))

    @property
    def _can_fetch(self) -> bool:
        return self._broker.can_be_read and not self._is_stalled

    def _fetch(self) -> list[ConsumedRecord]:
        records: list[ConsumedRecord] = []
        for partition in self._positions.keys() - self._paused:
            room = self.policy.max_poll_records - len(records)
            if room > 0:
                records += self._fetch_from(partition, room)
        self.progress.take_in_hand(((one.topic, one.partition), one.offset) for one in records)
        return records

    def _fetch_from(self, partition: Partition, room: int) -> list[ConsumedRecord]:
        log, position = self._log(partition), self._positions[partition]
        if not log.first <= position <= log.end:
            position = log.first
        entries = log.read(position, room)
        self._positions[partition] = position
        self._check_readable(log, entries)
        answer = FetchAnswer(
            partition=partition,
            asked_at=self._clock.now(),
            offset=position,
            end=log.end,
            is_empty=not entries,
        )
        self.progress.note_answer(answer)
        self._positions[partition] += len(entries)
        return [record for record in entries.values() if record is not None]

    def _check_readable(self, log: PartitionLog, offsets: Collection[int]) -> None:
        damages = [log.damages[one] for one in offsets if one in log.damages]
        for damage in damages:
            if damage.strike():
                raise UnreadablePollError(self._unread(), is_final=damage.is_final)

    def _unread(self) -> dict[Partition, int]:
        """Return where reading stands, of the partitions that have more."""
        return {
            partition: position
            for partition, position in self._positions.items()
            if position < self._log(partition).readable_end
        }

    def _log(self, partition: Partition) -> PartitionLog:
        return self._broker.logs[partition]

    async def _ask_of_partitions(self) -> None:
        before = self.assignment
        await self._ask()
        if self.assignment != before:
            raise PartitionsLostError

    async def _ask(self) -> None:
        self._check_open()
        await self._broker.answer(self.policy.request_timeout_seconds)

    def _check_open(self) -> None:
        if self.is_closed:
            raise BrokerUnavailableError("The connection to Kafka has ended.")
