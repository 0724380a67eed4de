"""Moving the consumer group back, so that events are read again. Applying is idempotent.

A group without members takes offsets from outside. One that runs refuses them, so its consumers are
asked: the request lies in a store, and whoever owns a partition rewinds it once and commits the
earlier offset first, so that a crash during the replay continues it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from common_core.records import Partition
from service_libs.exceptions import ServiceError
from service_libs.kafka.records import GroupPosition
from service_libs.protocols import ConsumerGroupProtocol, ReplayRequestsProtocol

LOOK_SECONDS = 0.2  # between two looks at who has rewound


class ReplayRefusedError(ServiceError):
    """The group has members, which cannot be asked without Redis: stop them first."""


class UnknownPartitionError(ServiceError):
    """The broker has no such topic, or not so many partitions of it."""


class ReplayLostError(ServiceError):
    """The request is gone, or was replaced: look where the group is, and ask again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionReplay:
    """What would become of one partition.

    `new` is None where there is nothing to replay.
    """

    partition: Partition
    committed: int | None
    new: int | None
    note: str = ""

    @property
    def records(self) -> int:
        """How many records would be read again, those that are deleted by then among them."""
        return 0 if self.new is None or self.committed is None else self.committed - self.new


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """Whether members had to be asked, and the partitions that none of them has rewound yet."""

    is_asked: bool
    waiting: tuple[Partition, ...] = ()


class Replayer:
    """Plans a replay, and has it done."""

    def __init__(
        self, group: ConsumerGroupProtocol, requests: ReplayRequestsProtocol | None
    ) -> None:
        self._group = group
        self._requests = requests

    async def plan_from_offsets(
        self, offsets: Mapping[Partition, int]
    ) -> Sequence[PartitionReplay]:
        """Return what would become of these partitions.

        Raises:
            UnknownPartitionError: one of them is not there.
        """
        topics = list(dict.fromkeys(topic for topic, _ in offsets))
        known = await self._group.list_partitions(topics)
        _require(topics, known)
        if missing := [f"{topic}:{number}" for topic, number in offsets.keys() - set(known)]:
            raise UnknownPartitionError(f"There is no partition {', '.join(sorted(missing))}.")
        positions = await self._group.read_positions(list(offsets))
        return [_plan(p, positions[p], wanted) for p, wanted in offsets.items()]

    async def plan_from_time(
        self, since: datetime, topics: Sequence[str], *, may_be_missing: bool = False
    ) -> Sequence[PartitionReplay]:
        """Return what would become of all partitions of the topics.

        Raises:
            UnknownPartitionError: a topic is not there, and may not be missing.
        """
        partitions = await self._group.list_partitions(topics)
        if not may_be_missing:
            _require(topics, partitions)
        positions = await self._group.read_positions(partitions)
        offsets = await self._group.find_offsets(partitions, since)
        return [_plan(p, positions[p], offsets.get(p)) for p in partitions]

    async def carry_out(
        self, plan: Sequence[PartitionReplay], *, wait_seconds: float
    ) -> ReplayResult:
        """Move the group; ask its members where there are any, and wait for them so long.

        Raises:
            ReplayRefusedError: there are members, and they cannot be asked.
        """
        offsets = {one.partition: one.new for one in plan if one.new is not None}
        if not offsets or await self._group.move(offsets):
            return ReplayResult(is_asked=False)
        if self._requests is None:
            raise ReplayRefusedError
        request_id = await self._requests.submit(offsets)
        waiting = await self._wait(self._requests, request_id, set(offsets), wait_seconds)
        return ReplayResult(is_asked=True, waiting=tuple(sorted(waiting)))

    @staticmethod
    async def _wait(
        requests: ReplayRequestsProtocol,
        request_id: str,
        partitions: set[Partition],
        wait_seconds: float,
    ) -> set[Partition]:
        """Return the partitions that nobody has rewound in time."""
        deadline = asyncio.get_running_loop().time() + wait_seconds
        while True:
            request = await requests.find()
            if request is None or request.request_id != request_id:
                raise ReplayLostError
            waiting = partitions - request.settled
            if not waiting or asyncio.get_running_loop().time() >= deadline:
                return waiting
            await asyncio.sleep(LOOK_SECONDS)


def _require(topics: Sequence[str], partitions: Sequence[Partition]) -> None:
    there = {topic for topic, _ in partitions}
    if missing := [topic for topic in topics if topic not in there]:
        raise UnknownPartitionError(f"The broker has no topic {', '.join(missing)}.")


def _plan(partition: Partition, position: GroupPosition, wanted: int | None) -> PartitionReplay:
    committed = position.committed
    if committed is None:
        note = "nothing is committed, so all of it is read anyway"
        return PartitionReplay(partition=partition, committed=None, new=None, note=note)
    if wanted is None or wanted >= committed:
        note = "nothing to replay: not behind what is committed"
        return PartitionReplay(partition=partition, committed=committed, new=None, note=note)
    is_deleted = wanted < position.beginning
    note = f"the records from {wanted} on are deleted" if is_deleted else ""
    return PartitionReplay(
        partition=partition, committed=committed, new=max(wanted, position.beginning), note=note
    )
