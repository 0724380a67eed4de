"""What the source in memory does when its broker fails; a broker cannot be made to at will.

What it promises beside that is tried in `tests/contract/test_record_source.py`.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service_libs.exceptions import BrokerUnavailableError
from service_libs.kafka.patience import UnreadablePollError
from service_libs.kafka.records import PartitionsLostError
from service_libs.memory.record_source import MemoryRecordSource
from service_libs.protocols import RecordSourceProtocol
from tests.support.loops import until
from tests.support.sources import MemorySources


async def nothing(source: RecordSourceProtocol) -> None:
    """Give the partitions up without a word."""
    del source


@pytest.fixture
async def sources() -> MemorySources:
    made = MemorySources()
    await made.create_topic()
    return made


@pytest.fixture
async def source(sources: MemorySources) -> AsyncIterator[MemoryRecordSource]:
    """A member that has read three records of the first partition, and committed one."""
    await sources.append_numbers(0, range(3))
    made = sources.source(nothing)
    await made.open()
    assert len((await made.poll()).records) == 3
    await made.commit({(sources.topic, 0): 1})
    yield made
    await made.close()


async def test_deleted_records_are_found_that_were_not_committed_or_not_read(
    sources: MemorySources, source: MemoryRecordSource
) -> None:
    place = (sources.topic, 0)
    sources.broker.delete_before(place, 3)
    assert await source.find_deleted() == {place: range(1, 3)}
    assert await source.find_deleted(unread=True) == {}

    await sources.append_numbers(0, range(4))
    sources.broker.delete_before(place, 5)
    assert await source.find_deleted(unread=True) == {place: range(3, 5)}
    assert [record.offset for record in (await source.poll()).records] == [5, 6]


async def test_a_broker_that_is_away_is_no_empty_answer(
    sources: MemorySources, source: MemoryRecordSource
) -> None:
    source.progress.finish()
    sources.broker.is_available = False
    await sources.append_numbers(1, range(1))

    assert not (await source.poll()).records
    assert source.progress.read_ends() == {}
    for asked in (source.is_stuck(), source.find_deleted(), source.commit({})):
        with pytest.raises(BrokerUnavailableError, match="reached"):
            await asked


async def test_a_silent_broker_is_waited_for_until_the_time_out(
    sources: MemorySources, source: MemoryRecordSource
) -> None:
    source.policy = sources.quick_to_give_up()
    sources.broker.speaks.clear()

    with pytest.raises(BrokerUnavailableError, match="in time"):
        await source.commit({})
    assert not await source.close()
    sources.broker.speaks.set()


async def test_partitions_taken_by_force_cannot_be_committed_and_are_missed_later(
    sources: MemorySources, source: MemoryRecordSource
) -> None:
    group = sources.broker.group(sources.policy.group_id)
    assignment = source.assignment
    group.expel(source)

    with pytest.raises(PartitionsLostError):
        await source.commit({(sources.topic, 0): 3})
    assert source.assignment == assignment

    await until(lambda: source.assignment > assignment)
    await until(lambda: source in group.members and not source.is_rebalancing)
    assert [record.offset for record in (await source.poll()).records] == [1, 2]


async def test_who_does_not_give_up_in_time_joins_again_when_it_has(
    sources: MemorySources,
) -> None:
    may_give_up = asyncio.Event()

    async def wait(source: RecordSourceProtocol) -> None:
        del source
        await may_give_up.wait()

    sources.policy = sources.quick_to_give_up()
    slow, quick = sources.source(wait), sources.source(nothing)
    await slow.open()
    await until(lambda: slow.has_partitions)
    await quick.open()
    await until(lambda: quick.is_assigned((sources.topic, 0)))
    assert quick.is_assigned((sources.topic, 1))

    may_give_up.set()
    await until(lambda: slow.has_partitions and quick.has_partitions)
    assert await slow.close()
    assert await quick.close()


async def test_what_a_bad_record_was_polled_with_is_lost(
    sources: MemorySources, source: MemoryRecordSource
) -> None:
    place = (sources.topic, 0)
    await sources.append_numbers(0, range(2))
    sources.broker.damage(place, 4, failures=1, is_final=False)

    with pytest.raises(UnreadablePollError) as raised:
        await source.poll()

    assert raised.value.positions == {place: 3}
    assert not raised.value.is_final
    assert [record.offset for record in (await source.poll()).records] == [3, 4]


async def test_an_open_transaction_hides_what_follows_and_its_end_is_no_record(
    sources: MemorySources, source: MemoryRecordSource
) -> None:
    place = (sources.topic, 0)
    source.progress.finish()
    sources.broker.open_transaction(place)
    await sources.append_numbers(0, range(2))
    assert not (await source.poll()).records
    assert not await source.is_stuck()

    sources.broker.end_transaction(place)
    assert len((await source.poll()).records) == 2
    source.progress.finish()
    await source.poll()
    assert source.progress.read_ends()[place] == 6


async def test_a_log_that_lost_its_end_is_read_from_its_beginning(
    sources: MemorySources, source: MemoryRecordSource
) -> None:
    sources.broker.truncate((sources.topic, 0), 1)

    assert [record.offset for record in (await source.poll()).records] == [0]
