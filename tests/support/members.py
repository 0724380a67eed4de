"""Members of a group that reads a topic of two partitions, as tests have them come and go."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from common_core.records import Partition
from service_libs.kafka.records import Record
from service_libs.protocols import OnRevoked, RecordSourceProtocol
from tests.support.kafka import until
from tests.support.sources import Sources

FIRST, SECOND = 0, 1


async def nothing(source: RecordSourceProtocol) -> None:
    """Give the partitions up without a word."""
    del source


class Bench:
    """A topic of two partitions, and members of a group that reads it."""

    def __init__(self, sources: Sources, stack: AsyncExitStack) -> None:
        self.sources = sources
        self._stack = stack

    def at(self, number: int) -> Partition:
        return self.sources.topic, number

    async def join(
        self, on_revoked: OnRevoked = nothing, *, until_settled: bool = True
    ) -> RecordSourceProtocol:
        """Return a new member, once it has its partitions."""
        source = self.sources.source(on_revoked)
        self._stack.push_async_callback(source.close)
        await source.open()
        if until_settled:
            await self.until_settled(source)
        return source

    async def join_at(
        self, seat: str, on_revoked: OnRevoked = nothing, *, until_settled: bool = True
    ) -> RecordSourceProtocol:
        """Return a new member at the seat, whose session nobody can wait for."""
        source = self.sources.source_at(seat, on_revoked)
        self._stack.push_async_callback(source.close)
        await source.open()
        if until_settled:
            await self.until_settled(source)
        return source

    async def until_settled(
        self, *sources: RecordSourceProtocol, holds: Callable[[], bool] = lambda: True
    ) -> None:
        """Have the members poll, as members do, until the group has given all of them a share."""

        async def poll_all() -> bool:
            polls = await asyncio.gather(*(source.poll() for source in sources))
            assert not any(poll.records for poll in polls)
            return holds() and not any(source.is_rebalancing for source in sources)

        await until(poll_all)

    async def read(self, source: RecordSourceProtocol, count: int) -> list[Record]:
        """Return so many records, of as many polls as it takes."""
        records: list[Record] = []
        async with asyncio.timeout(20):
            while len(records) < count:
                records += (await source.poll()).records
        return records
