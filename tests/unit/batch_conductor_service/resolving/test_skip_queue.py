import asyncio
import time
from datetime import UTC, datetime

from structlog.testing import capture_logs

from batch_conductor_service.domain.resolution import SkippedPhase
from batch_conductor_service.resolving.announcing import SkipPolicy, SkipQueue, skipped_phases
from tests.support.announcing import ControlledSkips, CountedDrops, running_to_its_end
from tests.support.kafka import until
from tests.support.resolutions import resolution_of


def events_of(batch: str, *steps: str) -> list[SkippedPhase]:
    return skipped_phases(resolution_of(batch, *(steps or ("spellcheck",))), datetime.now(UTC))


class Bench:
    """A queue and all it speaks to."""

    def __init__(
        self, *, capacity: int = 10_000, batch_size: int = 100, max_delay_seconds: float = 2
    ) -> None:
        self.skips, self.drops = ControlledSkips(), CountedDrops()
        self.queue = SkipQueue(
            self.skips,
            self.drops.metrics,
            SkipPolicy(
                capacity=capacity,
                batch_size=batch_size,
                max_backoff_seconds=0.001,
                max_delay_seconds=max_delay_seconds,
            ),
        )


async def test_what_waits_is_sent_together_and_only_so_much_at_a_time() -> None:
    bench = Bench(batch_size=100)
    for n in range(250):
        bench.queue.add(events_of(f"b{n}"))

    async with running_to_its_end(bench.queue):
        pass

    assert [len(call) for call in bench.skips.calls] == [100, 100, 50]
    assert bench.skips.batches == [f"b{n}" for n in range(250)]


async def test_the_same_event_waiting_twice_is_sent_once() -> None:
    """Also while it is on its way; once it is acknowledged, whoever asks again is told again."""
    bench = Bench()
    bench.queue.add(events_of("b1"))
    bench.queue.add(events_of("b1"))
    bench.skips.may_answer.clear()
    async with running_to_its_end(bench.queue):
        await until(lambda: bench.skips.calls != [])
        bench.queue.add(events_of("b1"))
        assert bench.queue.depth == 1
        bench.skips.may_answer.set()
        await until(lambda: bench.queue.depth == 0)
        assert len(bench.skips.published) == 1
        bench.queue.add(events_of("b1"))

    assert len(bench.skips.published) == 2
    assert bench.drops.steps == []


async def test_an_unreachable_broker_is_tried_until_it_is_back() -> None:
    bench = Bench()
    bench.skips.failures = 20

    async with running_to_its_end(bench.queue):
        bench.queue.add(events_of("b1"))
        await until(lambda: bench.skips.published != [])

    assert bench.drops.steps == []


async def test_the_stop_waits_for_a_broker_that_comes_back() -> None:
    bench = Bench()
    bench.skips.failures = 20

    async with running_to_its_end(bench.queue):
        bench.queue.add(events_of("b1"))

    assert bench.skips.batches == ["b1"]
    assert bench.drops.steps == []


async def test_an_event_that_is_not_taken_lets_the_others_pass() -> None:
    bench = Bench(batch_size=2)
    bench.skips.failing_steps = {"nlp"}
    bench.queue.add(events_of("b1", "spellcheck", "nlp"))
    bench.queue.add(events_of("b2", "spellcheck", "nlp"))
    bench.queue.add(events_of("b3", "spellcheck", "nlp"))
    run = asyncio.create_task(bench.queue.run())

    await until(lambda: len(bench.skips.published) == 3)
    assert bench.queue.depth == 3
    bench.skips.failing_steps.clear()
    bench.queue.stop()
    await run

    assert len(bench.skips.published) == 6


async def test_a_full_queue_drops_what_is_added_counts_it_and_does_not_flood_the_log() -> None:
    bench = Bench(capacity=2)
    bench.queue.add(events_of("b1", "spellcheck", "nlp"))

    with capture_logs() as logs:
        for n in range(500):
            bench.queue.add(events_of(f"dropped-{n}"))
        async with running_to_its_end(bench.queue):
            pass

    assert bench.drops.steps == ["spellcheck"] * 500
    assert bench.skips.batches == ["b1", "b1"]
    told = [entry["count"] for entry in logs if entry["event"] == "skip_events_dropped"]
    assert len(told) == 2
    assert sum(told) == 500


async def test_an_event_that_waits_already_needs_no_more_room() -> None:
    bench = Bench(capacity=1)
    bench.queue.add(events_of("b1"))
    bench.queue.add(events_of("b1"))

    assert bench.queue.depth == 1
    assert bench.drops.steps == []


class TestRoom:
    """Rather than losing an event an answer waits."""

    async def test_where_there_is_much_nobody_waits(self) -> None:
        bench = Bench(capacity=100)
        bench.queue.add(events_of("b1"))

        assert await seconds_waited(bench.queue) < 0.5

    async def test_the_less_there_is_the_longer_an_answer_waits(self) -> None:
        bench = Bench(capacity=100, max_delay_seconds=0.4)
        waited = []
        for depth in (60, 100):
            for n in range(bench.queue.depth, depth):
                bench.queue.add(events_of(f"b{n}"))
            waited.append(await seconds_waited(bench.queue))

        assert 0.15 < waited[0] < waited[1]
        assert waited[1] > 0.35

    async def test_who_waits_goes_on_when_there_is_much_again(self) -> None:
        bench = Bench(capacity=100, batch_size=30, max_delay_seconds=60)
        for n in range(100):
            bench.queue.add(events_of(f"b{n}"))
        waiting = asyncio.create_task(seconds_waited(bench.queue))
        await asyncio.sleep(0)

        async with running_to_its_end(bench.queue):
            assert await waiting < 10

        assert bench.drops.steps == []

    async def test_it_lasts_until_a_broker_that_is_away_leaves_nothing_to_be_skipped(self) -> None:
        """By the policy as it is: all places taken all the time, four phases skipped by each."""
        policy, seconds, depth = SkipPolicy(), 0.0, 0.0
        roomy = policy.roomy_share * policy.capacity
        while depth < policy.capacity:
            share = max(0.0, depth - roomy) / (policy.capacity - roomy)
            seconds += max(0.1, share * policy.max_delay_seconds)  # 256 at once answer in 0.1 s
            depth += 4 * 256

        assert seconds > 30


async def seconds_waited(queue: SkipQueue) -> float:
    began = time.monotonic()
    await queue.wait_for_room()
    return time.monotonic() - began
