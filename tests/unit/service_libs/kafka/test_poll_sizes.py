"""A poll is bounded by bytes, whatever was fetched."""

from collections import deque
from collections.abc import Sequence

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from service_libs.kafka.aiokafka_gaps import MAX_POLL_BYTES, STEP_RECORDS, Record, collect

PLACE = TopicPartition("t", 0)
MEBIBYTE = 1024 * 1024


class Fetched:
    """Records of one partition that were fetched, of these sizes."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.left = deque(enumerate(sizes))
        self.time_outs: list[int] = []

    async def getmany(
        self, *, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Record]]:
        self.time_outs.append(timeout_ms)
        taken = [self.left.popleft() for _ in range(min(max_records, len(self.left)))]
        return {PLACE: [_record(offset, size) for offset, size in taken]} if taken else {}


def _record(offset: int, size: int) -> Record:
    return ConsumerRecord("t", 0, offset, 0, 0, None, bytes(size), None, 0, size, ())


async def sizes_of(fetched: Fetched, max_records: int = 500) -> list[int]:
    """Return the offsets of one poll."""
    records = await collect(fetched, timeout_ms=100, max_records=max_records)
    return [record.offset for record in records]


async def test_small_records_are_bounded_by_their_number() -> None:
    fetched = Fetched([500] * 1000)

    assert await sizes_of(fetched) == list(range(500))
    assert await sizes_of(fetched) == list(range(500, 1000))


async def test_only_the_first_look_waits() -> None:
    """A rebalance while another waited would lose what the first had taken."""
    fetched = Fetched([1] * 100)

    await sizes_of(fetched)

    assert fetched.time_outs[0] == 100
    assert set(fetched.time_outs[1:]) == {0}


async def test_nothing_fetched_is_an_empty_poll_after_one_wait() -> None:
    fetched = Fetched([])

    assert await sizes_of(fetched) == []
    assert fetched.time_outs == [100]


async def test_records_of_a_megabyte_are_few_and_none_is_left_out() -> None:
    fetched = Fetched([MEBIBYTE] * 100)
    polls = []
    while fetched.left:
        polls.append(await sizes_of(fetched))

    assert max(len(poll) for poll in polls) <= STEP_RECORDS
    assert [offset for poll in polls for offset in poll] == list(range(100))


@pytest.mark.parametrize("size", [MAX_POLL_BYTES // 100, MAX_POLL_BYTES // 20])
async def test_middling_records_fill_a_poll_and_hardly_more(size: int) -> None:
    fetched = Fetched([size] * 500)

    assert size * len(await sizes_of(fetched)) <= MAX_POLL_BYTES + size
