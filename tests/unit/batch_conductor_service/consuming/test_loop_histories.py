"""Whatever happens in whatever order: nothing is lost, and nothing is committed too early."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import pytest

from batch_conductor_service.models import BatchUpdate
from common_core.records import Partition
from tests.support.builders import spellchecked
from tests.support.consuming import ControlledRepository
from tests.support.loops import PARTITIONS, SPELLCHECK, Bench, running, until

STEPS = 12
PLACES: list[Partition] = [(SPELLCHECK, number) for number in range(PARTITIONS)]


class WatchedRepository(ControlledRepository):
    """Remembers under which entry of which queue each record was queued last."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.queue)
        self._bench = bench
        self.entries: dict[tuple[Partition, int], tuple[str, int]] = {}

    async def apply(self, updates: Sequence[BatchUpdate]) -> Sequence[str | None]:
        entry_ids = await super().apply(updates)
        for update, entry_id in zip(updates, entry_ids, strict=True):
            number = int((entry_id or "0-0").split("-")[0])
            for one in update.positions:
                place = ((one.topic, one.partition), one.offset)
                self.entries[place] = (self._bench.queue.generation, number)
        return entry_ids


class History:
    """A consumer or two, and what a broker, a queue and a store may do to them."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench = bench
        self.random = Random(seed)
        self.repository = WatchedRepository(bench)
        self.durable: set[tuple[Partition, int]] = set()
        self.sent = 0

    async def live_through(self) -> None:
        """Have a few things happen, then let all come to its end."""
        happenings: list[Callable[[], Awaitable[None] | None]] = [
            self.produce,
            self.produce,
            self.hold_some,
            self.bench.queue.replace,
            self.fail_for_a_while,
            self.expel,
            self.rebalance,
            self.join_for_a_while,
            self.break_off,
        ]
        async with running(self.bench.consumer(repository=self.repository)):
            for _ in range(STEPS):
                happened = self.random.choice(happenings)()
                if happened is not None:
                    await happened
                await asyncio.sleep(self.random.choice([0, 0.001, 0.003]))
                self.check()
            await self.come_to_an_end()

    def produce(self) -> None:
        count = self.random.randint(1, 5)
        for _ in range(count):
            event = spellchecked("b1", f"e{self.sent}")
            self.bench.produce(event, partition=self.random.randrange(PARTITIONS))
            self.sent += 1

    def hold_some(self) -> None:
        queue = self.bench.queue
        queue.held = self.random.randint(queue.held, queue.queued)
        self.note_durable()

    def note_durable(self) -> None:
        """Note what Postgres holds by now; a queue that is lost later takes nothing of it away."""
        queue = self.bench.queue
        self.durable |= {
            place
            for place, (generation, number) in self.repository.entries.items()
            if generation == queue.generation and number <= queue.held
        }

    def fail_for_a_while(self) -> None:
        self.repository.failures = self.random.randint(0, 2)
        self.bench.queue.failures = self.random.randint(0, 2)

    def expel(self) -> None:
        group = self.bench.broker.group(self.bench.policy.group_id)
        if group.members:
            group.expel(self.random.choice(group.members))

    def rebalance(self) -> None:
        self.bench.broker.group(self.bench.policy.group_id).rebalance()

    async def join_for_a_while(self) -> None:
        async with running(self.bench.consumer(repository=self.repository)):
            await asyncio.sleep(0.005)

    async def break_off(self) -> None:
        self.bench.broker.is_available = False
        await asyncio.sleep(0.005)
        self.bench.broker.is_available = True

    def check(self) -> None:
        """No commit is past a record that Postgres does not hold."""
        for place in PLACES:
            for offset in range(self.bench.committed.get(place, 0)):
                assert (place, offset) in self.durable

    async def come_to_an_end(self) -> None:
        """Everything is applied, held and committed when nothing more goes wrong."""
        self.fail_for_a_while()
        self.produce()

        def is_committed() -> bool:
            self.bench.queue.hold_all()
            self.note_durable()
            self.check()
            ends = {place: self.bench.broker.logs[place].end for place in PLACES}
            return all(self.bench.committed.get(p, 0) == end for p, end in ends.items())

        await until(is_committed)
        assert await self.repository.completed("b1") == {f"e{n}" for n in range(self.sent)}


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_is_lost_and_nothing_committed_too_early(bench: Bench, seed: int) -> None:
    await History(bench, seed).live_through()
