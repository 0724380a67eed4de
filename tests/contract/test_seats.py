"""Seats in the broker in memory; on Apache Kafka they are tried with the faults."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support.members import Bench
from tests.support.seats import SeatContract
from tests.support.sources import MemorySources


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    sources = MemorySources()
    await sources.create_topic()
    async with AsyncExitStack() as stack:
        yield Bench(sources, stack)


class TestSeatsInMemory(SeatContract):
    """As the real broker has them."""
