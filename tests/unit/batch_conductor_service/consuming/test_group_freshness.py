import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from batch_conductor_service.consuming.group_freshness import (
    AlwaysFresh,
    FreshnessExchange,
    GroupFreshness,
)
from batch_conductor_service.domain.freshness import (
    NOTHING_KNOWN,
    GroupPromises,
    PartitionFreshness,
)
from batch_conductor_service.implementations.memory.stand_ins import MemoryFreshnessBoard
from common_core.records import Partition, TopicLook
from service_libs.exceptions import StoreUnavailableError
from tests.support.builders import NOON
from tests.support.clocks import SettableClock
from tests.support.waiting import eventually

PARTITION = ("topic", 0)
Promises = Mapping[Partition, PartitionFreshness]


def promised(seconds: float) -> Promises:
    until = NOON + timedelta(seconds=seconds)
    return {PARTITION: PartitionFreshness(applied_until=until, archived_until=until)}


class Group:
    """A group that reads one partition."""

    def __init__(self) -> None:
        self.clock = SettableClock()
        self.freshness = GroupFreshness(self.clock, max_staleness_seconds=30)

    def look(self) -> None:
        self.freshness.note_look(
            TopicLook(asked_at=self.clock.now(), partitions=frozenset({PARTITION}))
        )

    def exchange(self, promises: Promises) -> None:
        self.look()
        self.freshness.note_promises(GroupPromises(partitions=promises))

    @property
    def is_fresh(self) -> bool:
        return self.freshness.covers(self.until, None)

    @property
    def until(self) -> datetime | None:
        return self.freshness.current().applied_until


@pytest.fixture
def group() -> Group:
    return Group()


def test_nothing_is_known_at_the_start(group: Group) -> None:
    assert group.freshness.current() == NOTHING_KNOWN
    assert not group.is_fresh
    assert group.freshness.age_seconds == float("inf")


def test_it_ages_while_nothing_new_is_promised(group: Group) -> None:
    group.exchange(promised(0))
    for _ in range(31):
        assert group.is_fresh
        group.clock.move(1)
        group.exchange(promised(0))

    assert not group.is_fresh
    assert group.until == NOON
    assert group.freshness.age_seconds == 31
    assert group.freshness.behind_seconds == 31


@pytest.mark.parametrize("seconds", [-3600, -2, 2, 3600])
def test_when_our_clock_was_moved_nothing_is_known(group: Group, seconds: float) -> None:
    group.exchange(promised(0))

    group.clock.move(seconds)

    assert not group.is_fresh
    assert group.until is None


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_what_was_promised_before_our_clock_was_moved_makes_nothing_fresh(
    group: Group, seconds: float
) -> None:
    group.exchange(promised(0))
    group.clock.move(seconds)

    group.exchange(promised(0))

    assert not group.is_fresh


def test_a_clock_that_is_put_back_a_little_makes_no_promise_younger(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = 0.0
    monkeypatch.setattr("time.monotonic", lambda: passed)
    group.exchange(promised(0))
    for _ in range(25):
        passed += 1
        group.clock.move(1)
        group.exchange(promised(0))
    group.clock.move(-20)  # now it is five seconds after noon, by this clock
    group.exchange(promised(0))
    assert group.freshness.age_seconds == 25

    passed += 6
    group.clock.move(6)
    group.exchange(promised(0))

    assert not group.is_fresh


def test_who_is_behind_is_named(group: Group) -> None:
    assert group.freshness.name_behind() == "the broker has not told which partitions there are"

    group.exchange({})

    assert group.freshness.name_behind() == "not read to the end by any replica: topic:0"

    group.exchange(promised(0))

    assert group.freshness.name_behind() == "what the replicas told of themselves is out of date"


def test_a_topic_that_the_broker_refuses_is_named(group: Group) -> None:
    refused = {"topic": "topic may not be described"}
    look = TopicLook(asked_at=NOON, partitions=frozenset(), refused=refused)

    group.freshness.note_look(look)

    assert group.freshness.name_behind() == "topic may not be described"


async def test_who_waits_goes_on_as_soon_as_it_is_known(group: Group) -> None:
    group.exchange(promised(-5))
    waiting = asyncio.create_task(group.freshness.wait_until(NOON, timeout_seconds=60))
    await asyncio.sleep(0)
    assert not waiting.done()

    group.exchange(promised(0))

    await asyncio.wait_for(waiting, 1)


async def test_nobody_waits_for_longer_than_allowed(group: Group) -> None:
    await asyncio.wait_for(group.freshness.wait_until(NOON, timeout_seconds=0.01), 1)


async def test_who_need_not_wait_does_not(group: Group) -> None:
    group.exchange(promised(0))

    await group.freshness.wait_until(NOON, timeout_seconds=0)

    assert group.freshness.covers(group.until, NOON)


class TestWithoutKafka:
    def test_it_is_the_time_of_the_answer(self) -> None:
        clock = SettableClock()
        freshness = AlwaysFresh(clock)

        clock.move(3600)

        assert freshness.current().applied_until == clock.now()
        assert freshness.covers(clock.now(), None)

    async def test_what_has_not_happened_yet_is_not_known(self) -> None:
        freshness = AlwaysFresh(SettableClock())
        later = NOON + timedelta(seconds=1)

        await asyncio.wait_for(freshness.wait_until(later, timeout_seconds=0.01), 1)

        assert not freshness.covers(freshness.current().applied_until, later)


class Reader:
    """A reader of the partition, which promises what the test says."""

    def __init__(self) -> None:
        self.promised = promised(0)

    def promises(self) -> Promises:
        return self.promised


class BoardThatGoesAway(MemoryFreshnessBoard):
    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.asked = 0

    async def exchange(self, own: Promises) -> GroupPromises:
        self.asked += 1
        if self.is_away:
            raise StoreUnavailableError
        return await super().exchange(own)


async def test_while_the_board_is_away_what_is_known_ages(group: Group) -> None:
    reader, board, ages = Reader(), BoardThatGoesAway(), list[float]()
    exchange = FreshnessExchange(reader.promises, board, group.freshness, ages.append)
    group.look()
    await exchange.exchange()
    assert group.until == NOON

    board.is_away = True
    reader.promised = promised(1)
    with capture_logs() as logs:
        await exchange.exchange()
        await exchange.exchange()

    assert group.until == NOON
    assert ages == [0, 0, 0]
    assert [line["event"] for line in logs] == ["freshness_not_exchanged"]


async def test_replicas_show_each_other_until_they_are_stopped(group: Group) -> None:
    board = BoardThatGoesAway()
    exchange = FreshnessExchange(
        Reader().promises, board, group.freshness, lambda _: None, interval_seconds=0.01
    )
    run = asyncio.create_task(exchange.run())

    async def has_asked_often() -> bool:
        return board.asked > 2

    await eventually(has_asked_often)
    exchange.stop()
    await asyncio.wait_for(run, 1)
