import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

import pytest

from common_core.records import Partition
from service_libs.kafka.records import GroupPosition, ReplayRequest
from service_libs.kafka.replaying import (
    PartitionReplay,
    Replayer,
    ReplayLostError,
    ReplayRefusedError,
    ReplayResult,
    UnknownPartitionError,
)
from tests.support.builders import NOON
from tests.support.replaying import MemoryReplayRequests

P0, P1, P2, NOWHERE = ("t", 0), ("t", 1), ("t", 2), ("u", 0)


class MemoryGroup:
    """`ConsumerGroupProtocol` over three partitions."""

    def __init__(self, *, has_members: bool = False) -> None:
        self.positions = {
            P0: GroupPosition(committed=100, beginning=0),
            P1: GroupPosition(committed=50, beginning=40),
            P2: GroupPosition(committed=None, beginning=0),
        }
        self.since = {P0: 70, P1: 10}
        self.moved: dict[Partition, int] = {}
        self._has_members = has_members

    async def list_partitions(self, topics: Sequence[str]) -> Sequence[Partition]:
        return [partition for partition in self.positions if partition[0] in topics]

    async def read_positions(
        self, partitions: Sequence[Partition]
    ) -> Mapping[Partition, GroupPosition]:
        return {partition: self.positions[partition] for partition in partitions}

    async def find_offsets(
        self, partitions: Sequence[Partition], since: datetime
    ) -> Mapping[Partition, int]:
        return {p: self.since[p] for p in partitions if p in self.since and since == NOON}

    async def move(self, offsets: Mapping[Partition, int]) -> bool:
        if not self._has_members:
            self.moved.update(offsets)
        return not self._has_members


class MemoryRequests(MemoryReplayRequests):
    """With members that rewind the partitions given, one a look."""

    def __init__(self, *rewound: Partition) -> None:
        super().__init__()
        self.asked: Mapping[Partition, int] | None = None
        self.is_lost = False
        self._rewound = list(rewound)

    async def submit(self, offsets: Mapping[Partition, int]) -> str:
        self.asked = offsets
        return await super().submit(offsets)

    async def find(self) -> ReplayRequest | None:
        if self.request and self._rewound:
            await self.settle(self.request.request_id, [self._rewound.pop()])
        return None if self.is_lost else self.request


def summed(plan: Sequence[PartitionReplay]) -> list[tuple[Partition, int | None, int]]:
    return [(one.partition, one.new, one.records) for one in plan]


async def test_a_plan_from_offsets_moves_back_and_never_forward() -> None:
    plan = await Replayer(MemoryGroup(), None).plan_from_offsets({P0: 30, P1: 50, P2: 0})

    assert summed(plan) == [(P0, 30, 70), (P1, None, 0), (P2, None, 0)]
    assert [bool(one.note) for one in plan] == [False, True, True]


@pytest.mark.parametrize(
    ("missing", "message"), [(NOWHERE, "no topic u"), (("t", 3), "no partition t:3")]
)
async def test_a_place_that_is_not_there_is_an_error(missing: Partition, message: str) -> None:
    with pytest.raises(UnknownPartitionError, match=message):
        await Replayer(MemoryGroup(), None).plan_from_offsets({P0: 30, missing: 0})


async def test_a_topic_that_is_not_there_is_an_error_unless_it_may_be_missing() -> None:
    replayer = Replayer(MemoryGroup(), None)

    with pytest.raises(UnknownPartitionError, match="no topic u"):
        await replayer.plan_from_time(NOON, ["t", "u"])

    plan = await replayer.plan_from_time(NOON, ["t", "u"], may_be_missing=True)
    assert [one.partition for one in plan] == [P0, P1, P2]


async def test_a_plan_begins_where_records_are_left() -> None:
    [one] = await Replayer(MemoryGroup(), None).plan_from_offsets({P1: 5})

    assert (one.new, one.records) == (40, 10)
    assert "deleted" in one.note


async def test_a_plan_from_a_time_asks_for_every_partition_of_the_topics() -> None:
    plan = await Replayer(MemoryGroup(), None).plan_from_time(NOON, ["t"])

    assert summed(plan) == [(P0, 70, 30), (P1, 40, 10), (P2, None, 0)]


async def test_a_partition_without_a_record_since_then_has_nothing_to_replay() -> None:
    group = MemoryGroup()
    del group.since[P0]

    plan = await Replayer(group, None).plan_from_time(NOON, ["t"])

    assert summed(plan)[0] == (P0, None, 0)


async def test_a_group_without_members_is_moved_at_once() -> None:
    group = MemoryGroup()
    replayer = Replayer(group, None)
    plan = await replayer.plan_from_offsets({P0: 30, P1: 50})

    assert await replayer.carry_out(plan, wait_seconds=0) == ReplayResult(is_asked=False)

    assert group.moved == {P0: 30}


async def test_where_there_is_nothing_to_replay_nothing_is_moved() -> None:
    group, requests = MemoryGroup(has_members=True), MemoryRequests()
    replayer = Replayer(group, requests)
    plan = await replayer.plan_from_offsets({P1: 50})

    assert not (await replayer.carry_out(plan, wait_seconds=0)).is_asked
    assert requests.asked is None


async def test_members_are_asked_and_waited_for() -> None:
    requests = MemoryRequests(P0, P1)
    replayer = Replayer(MemoryGroup(has_members=True), requests)
    plan = await replayer.plan_from_offsets({P0: 30, P1: 45})

    async with asyncio.timeout(10):
        result = await replayer.carry_out(plan, wait_seconds=10)

    assert result == ReplayResult(is_asked=True)
    assert requests.asked == {P0: 30, P1: 45}


async def test_partitions_that_nobody_rewinds_in_time_are_reported() -> None:
    replayer = Replayer(MemoryGroup(has_members=True), MemoryRequests(P0))
    plan = await replayer.plan_from_offsets({P0: 30, P1: 45})

    result = await replayer.carry_out(plan, wait_seconds=0)

    assert result == ReplayResult(is_asked=True, waiting=(P1,))


async def test_a_request_that_is_gone_is_not_taken_for_done() -> None:
    requests = MemoryRequests(P0)
    requests.is_lost = True
    replayer = Replayer(MemoryGroup(has_members=True), requests)
    plan = await replayer.plan_from_offsets({P0: 30})

    with pytest.raises(ReplayLostError):
        await replayer.carry_out(plan, wait_seconds=10)


async def test_members_that_cannot_be_asked_are_left_alone() -> None:
    replayer = Replayer(MemoryGroup(has_members=True), None)
    plan = await replayer.plan_from_offsets({P0: 30})

    with pytest.raises(ReplayRefusedError):
        await replayer.carry_out(plan, wait_seconds=0)
