"""What becomes of who was at a member's seat before it: the same at every broker.

The broker of the wheels does not say who is in a group, so it is tried on Apache Kafka, and in
memory.
"""

import asyncio

from service_libs.protocols import RecordSourceProtocol
from tests.support.kafka import until
from tests.support.members import FIRST, SECOND, Bench


class SeatContract:
    """For a test file that has the fixture `bench`."""

    async def test_a_dead_member_is_not_waited_for_by_who_comes_to_its_seat(
        self, bench: Bench
    ) -> None:
        first = await bench.join_at("here")
        await first.abandon()

        second = await bench.join_at("here")

        assert second.is_assigned(bench.at(FIRST))
        assert second.is_assigned(bench.at(SECOND))

    async def test_a_dead_member_is_not_waited_for_by_others_once_its_seat_is_taken(
        self, bench: Bench
    ) -> None:
        first, dead = await bench.join_at("there"), await bench.join_at("here", until_settled=False)
        await bench.until_settled(first, dead, holds=lambda: dead.has_partitions)
        await dead.abandon()

        second = await bench.join_at("here", until_settled=False)

        await bench.until_settled(
            first, second, holds=lambda: first.has_partitions and second.has_partitions
        )

    async def test_a_live_member_that_has_to_leave_its_seat_joins_again(self, bench: Bench) -> None:
        """It can be so only by mistake: two processes name one seat. Nothing is lost by it."""
        first = await bench.join_at("here")
        second = await bench.join_at("here", until_settled=False)

        await bench.until_settled(
            first, second, holds=lambda: first.has_partitions and second.has_partitions
        )

    async def test_who_leaves_while_it_joins_is_not_waited_for(self, bench: Bench) -> None:
        may_give_up = asyncio.Event()

        async def give_up_late(_source: RecordSourceProtocol) -> None:
            await may_give_up.wait()

        first = await bench.join_at("there", give_up_late)
        second = await bench.join_at("here", until_settled=False)
        await until(lambda: first.is_rebalancing)

        assert await second.close()
        may_give_up.set()

        await bench.until_settled(first, holds=lambda: first.has_partitions)
        assert first.is_assigned(bench.at(FIRST))
        assert first.is_assigned(bench.at(SECOND))
