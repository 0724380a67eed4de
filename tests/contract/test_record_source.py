"""What every source of records promises: the same of the broker's as of the one in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from common_core.records import Partition
from service_libs.exceptions import BrokerUnavailableError
from service_libs.kafka.records import ConsumedRecord, PartitionsLostError, Record
from service_libs.protocols import RecordSourceProtocol
from tests.support.kafka import until
from tests.support.members import FIRST, SECOND, Bench, nothing
from tests.support.sources import KafkaSources, MemorySources, Sources


@pytest.fixture(params=["memory", "kafka"])
def sources(request: pytest.FixtureRequest) -> Sources:
    if request.param == "memory":
        return MemorySources()
    return KafkaSources(request.getfixturevalue("kafka_bootstrap_servers"))


@pytest.fixture
async def bench(sources: Sources) -> AsyncIterator[Bench]:
    await sources.create_topic()
    async with AsyncExitStack() as stack:
        yield Bench(sources, stack)


def numbers(records: list[Record]) -> list[int]:
    return [int(record.value or b"") for record in records]


class TestReading:
    async def test_records_come_as_they_were_and_in_their_order(self, bench: Bench) -> None:
        written = [
            ConsumedRecord(*bench.at(FIRST), n, 1_700_000_000_000 + n, b"\xff", b"%d" % n, headers)
            for n, headers in enumerate([(("trace", b"\x00\xff"),), ()])
        ]
        source = await bench.join()
        await bench.sources.append(*written)

        read = await bench.read(source, 2)

        assert [
            ConsumedRecord(
                one.topic,
                one.partition,
                one.offset,
                one.timestamp,
                one.key,
                one.value,
                tuple(one.headers),
            )
            for one in read
        ] == written

    async def test_what_is_there_before_the_group_is_read_from_the_beginning(
        self, bench: Bench
    ) -> None:
        await bench.sources.append_numbers(FIRST, range(3))
        source = await bench.join(until_settled=False)

        assert numbers(await bench.read(source, 3)) == [0, 1, 2]

    async def test_a_poll_waits_for_records_and_not_for_longer_than_the_interval(
        self, bench: Bench
    ) -> None:
        source = await bench.join()
        began = time.monotonic()
        assert not (await source.poll()).records

        assert bench.sources.interval_seconds * 0.9 < time.monotonic() - began < 5

    async def test_a_poll_is_bounded(self, bench: Bench) -> None:
        source = await bench.join()
        await bench.sources.append_numbers(FIRST, range(bench.sources.max_poll_records + 2))

        sizes: list[int] = []
        while sum(sizes) < bench.sources.max_poll_records + 2:
            sizes.append(len((await source.poll()).records))

        assert max(sizes) <= bench.sources.max_poll_records

    async def test_nothing_is_read_while_paused_and_the_membership_is_kept(
        self, bench: Bench
    ) -> None:
        source = await bench.join()
        source.pause()
        await bench.sources.append_numbers(FIRST, range(2))

        for _ in range(3):
            assert not (await source.poll()).records
        assert source.is_paused
        assert source.has_partitions

        source.resume()
        assert not source.is_paused
        assert numbers(await bench.read(source, 2)) == [0, 1]

    async def test_a_rewind_reads_again_and_leaves_a_strange_partition_alone(
        self, bench: Bench
    ) -> None:
        source = await bench.join()
        await bench.sources.append_numbers(FIRST, range(4))
        await bench.read(source, 4)

        source.rewind({bench.at(FIRST): 2, ("nobody.reads.this", 0): 0})

        assert numbers(await bench.read(source, 2)) == [2, 3]

    async def test_unread_records_are_told_from_a_quiet_topic(self, bench: Bench) -> None:
        source = await bench.join(until_settled=False)
        assert await source.is_stuck()  # it has no assignment yet

        await bench.sources.append_numbers(FIRST, range(1))
        await bench.read(source, 1)
        assert not await source.is_stuck()

        await bench.sources.append_numbers(FIRST, range(2))
        assert await source.is_stuck()


class TestProgress:
    async def test_it_is_known_up_to_when_everything_is_applied(self, bench: Bench) -> None:
        source = await bench.join()
        await until(lambda: _polled(source, lambda: bench.at(FIRST) in _applied(source)))

        await bench.sources.append_numbers(FIRST, range(2))
        await bench.read(source, 2)
        read_at = datetime.now(UTC)
        await source.poll()
        await source.poll()
        assert _applied(source)[bench.at(FIRST)] < read_at  # they are in hand
        assert source.progress.read_ends() == {}

        source.progress.finish()
        await until(lambda: _polled(source, lambda: _applied(source)[bench.at(FIRST)] >= read_at))
        assert source.progress.read_ends() == {bench.at(FIRST): 2}


class TestCommitting:
    async def test_the_next_member_reads_on_from_what_is_committed(self, bench: Bench) -> None:
        source = await bench.join()
        await bench.sources.append_numbers(FIRST, range(5))
        await bench.read(source, 5)
        assert await source.get_committed(bench.at(FIRST)) is None

        await source.commit({bench.at(FIRST): 3})

        assert await source.get_committed(bench.at(FIRST)) == 3
        assert source.committed == {bench.at(FIRST): 3}
        assert await source.close()
        successor = await bench.join(until_settled=False)
        assert numbers(await bench.read(successor, 2)) == [3, 4]

    async def test_what_is_not_ours_cannot_be_committed(self, bench: Bench) -> None:
        source = await bench.join()

        with pytest.raises(PartitionsLostError):
            await source.commit({("nobody.reads.this", 0): 1})

    async def test_nothing_that_is_committed_is_deleted(self, bench: Bench) -> None:
        source = await bench.join()
        await bench.sources.append_numbers(FIRST, range(2))
        await bench.read(source, 2)
        await source.commit({bench.at(FIRST): 1})

        assert await source.find_deleted() == {}
        assert await source.find_deleted(unread=True) == {}


class TestTheGroup:
    async def test_partitions_change_hands_when_they_are_given_up(self, bench: Bench) -> None:
        """What is committed meanwhile counts, and nobody reads on before."""
        may_give_up = asyncio.Event()

        async def commit_late(source: RecordSourceProtocol) -> None:
            await may_give_up.wait()
            await source.commit({bench.at(FIRST): 1, bench.at(SECOND): 1})

        first = await bench.join(commit_late)
        for number in (FIRST, SECOND):
            await bench.sources.append_numbers(number, range(1))
        await bench.read(first, 2)
        assignment = first.assignment
        first.pause()

        second = await bench.join(until_settled=False)
        await until(lambda: first.is_rebalancing)
        assert not second.has_partitions
        assert first.assignment == assignment  # what is in hand may yet be finished
        may_give_up.set()
        await bench.until_settled(
            first, second, holds=lambda: first.has_partitions and second.has_partitions
        )

        assert first.assignment > assignment
        assert (first.committed, first.is_paused) == ({}, False)
        owned = [[one.is_assigned(bench.at(n)) for n in (FIRST, SECOND)] for one in (first, second)]
        assert sorted(owned) == [[False, True], [True, False]]
        with pytest.raises(PartitionsLostError):
            await first.commit({bench.at(n): 1 for n in (FIRST, SECOND)})

    async def test_a_member_may_have_nothing(self, bench: Bench) -> None:
        members = [await bench.join(until_settled=False) for _ in range(3)]

        def is_shared_out() -> bool:
            return sum(one.has_partitions for one in members) == 2

        await bench.until_settled(*members, holds=is_shared_out)
        [idle] = [one for one in members if not one.has_partitions]

        assert not (await idle.poll()).records
        assert not await idle.is_stuck()

    async def test_who_leaves_without_a_word_is_missed_when_its_session_ends(
        self, bench: Bench
    ) -> None:
        first = await bench.join()
        await first.abandon()
        second = await bench.join(until_settled=False)

        await bench.until_settled(second, holds=lambda: second.has_partitions)

        assert second.is_assigned(bench.at(FIRST))
        assert second.is_assigned(bench.at(SECOND))

    async def test_a_topic_that_appears_is_read(self, bench: Bench) -> None:
        bench.sources.topics.append(bench.sources.later_topic)
        source = await bench.join()

        await bench.sources.create_later_topic()

        await bench.until_settled(
            source, holds=lambda: source.is_assigned((bench.sources.later_topic, 0))
        )


class TestAnOutage:
    async def test_a_broker_that_is_away_is_no_group_to_join(self, bench: Bench) -> None:
        source = bench.sources.source_of_nobody(nothing)

        with pytest.raises(BrokerUnavailableError):
            await source.open()
        assert await source.close()

    async def test_a_member_that_left_is_of_no_more_use(self, bench: Bench) -> None:
        source = await bench.join()
        assert await source.close()

        with pytest.raises(BrokerUnavailableError):
            await source.poll()


def _applied(source: RecordSourceProtocol) -> dict[Partition, datetime]:
    return source.progress.applied_until()


async def _polled(source: RecordSourceProtocol, is_true: Callable[[], bool]) -> bool:
    await source.poll()
    return is_true()
