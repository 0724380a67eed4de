"""An offset is committed when its effect is durable, and never before."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from service_libs import timing
from service_libs.kafka.condition import ConsumerState
from tests.support.builders import spellchecked
from tests.support.consuming import ControlledRepository
from tests.support.loops import PLACE, Bench, running, until

A_FEW = 4


async def test_nothing_is_committed_until_postgres_holds_it(bench: Bench) -> None:
    bench.produce_essays(1, 20)
    async with running(bench.consumer()):
        await bench.until_applied(20)
        await bench.pass_intervals(A_FEW)
        assert not bench.committed

        bench.queue.hold_all()
        await bench.until_committed(20)

    assert bench.count_events("applied") == 20


async def test_what_postgres_holds_of_them_is_committed_and_no_more(bench: Bench) -> None:
    async with running(bench.consumer()):
        for number in range(1, 6):  # each in a poll, and so in an entry, of its own
            bench.produce_essays(number, number)
            await bench.until_applied(number)
        bench.queue.held = 3
        await bench.until_committed(3)
        await bench.pass_intervals(A_FEW)
        assert bench.committed[PLACE] == 3


async def test_a_restart_reads_again_what_was_not_held_and_nothing_else(bench: Bench) -> None:
    bench.produce_essays(1, 10)
    async with running(bench.consumer()):
        await bench.until_applied(10)
        bench.queue.hold_all()
        await bench.until_committed(10)
        bench.produce_essays(11, 15)
        await bench.until_applied(15)

    successor = ControlledRepository(bench.queue)
    async with running(bench.consumer(repository=successor)):
        await until(lambda: len(successor.applied) >= 5)

    assert await successor.completed("b1") == {f"e{n}" for n in range(11, 16)}


async def test_without_a_queue_what_is_applied_is_committed(bench: Bench) -> None:
    bench.produce_essays(1, 10)
    async with running(bench.consumer_without_queue()):
        await bench.until_committed(10)

    assert len(await bench.repository.completed("b1")) == 10


async def test_a_queue_that_came_back_empty_makes_everything_in_flight_read_again(
    bench: Bench,
) -> None:
    bench.produce_essays(1, 10)
    async with running(bench.consumer()):
        await bench.until_applied(10)
        bench.queue.replace()
        await bench.until_applied(20)
        assert not bench.committed
        bench.queue.hold_all()
        await bench.until_committed(10)

    assert bench.read == [*range(10), *range(10)]


async def test_a_queue_that_cannot_be_read_only_delays_commits(bench: Bench) -> None:
    bench.produce_essays(1, 1)
    async with running(bench.consumer()):
        await bench.until_applied(1)
        bench.queue.failures = 3
        bench.queue.hold_all()
        await bench.until_committed(1)

    assert bench.queue.failures == 0


async def test_a_queue_that_cannot_be_read_is_waited_for_before_anything_is_applied(
    bench: Bench,
) -> None:
    bench.queue.failures = 3
    consumer = bench.consumer()
    bench.produce_essays(1, 1)
    async with running(consumer):
        await until(lambda: bench.queue.failures == 0)
        await bench.until_applied(1)
        await until(lambda: consumer.condition.state is ConsumerState.CONSUMING)


async def test_a_store_that_is_down_is_waited_for_and_nothing_is_dead_lettered(
    bench: Bench,
) -> None:
    bench.repository.failures = 10**9
    consumer = bench.consumer()
    bench.produce_essays(1, 10)
    async with running(consumer):
        await until(lambda: consumer.condition.state is ConsumerState.WAITING)
        await until(lambda: bench.repository.calls >= 3)
        bench.repository.failures = 0
        await bench.until_applied(10)
        await until(lambda: consumer.condition.state is ConsumerState.CONSUMING)

    assert bench.dlq.letters == []
    assert bench.read == [*range(10)]


async def test_a_commit_that_is_not_acknowledged_is_tried_again(bench: Bench) -> None:
    bench.produce_essays(1, 2)
    async with running(bench.consumer()):
        await bench.until_applied(2)
        bench.broker.is_available = False
        bench.queue.hold_all()
        await bench.pass_intervals(A_FEW)
        assert not bench.committed

        bench.broker.is_available = True
        await bench.until_committed(2)

    assert bench.read == [0, 1]


class TestMarkersOfTransactions:
    """They take offsets and are no records."""

    async def test_they_are_committed_when_all_before_them_is(self, bench: Bench) -> None:
        bench.broker.open_transaction(PLACE)
        bench.produce_essays(1, 2)
        bench.broker.end_transaction(PLACE)
        async with running(bench.consumer()):
            await bench.until_applied(2)
            await bench.pass_intervals(A_FEW)
            assert not bench.committed

            bench.queue.hold_all()
            await bench.until_committed(3)

    async def test_they_are_committed_once(self, bench: Bench) -> None:
        bench.broker.open_transaction(PLACE)
        bench.produce_essays(1, 2)
        bench.broker.end_transaction(PLACE)
        async with running(bench.consumer_without_queue()):
            await bench.until_committed(3)
            bench.broker.group(bench.policy.group_id).committed.clear()
            await bench.pass_intervals(A_FEW)
            assert not bench.committed

    async def test_what_an_open_one_has_is_not_read(self, bench: Bench) -> None:
        bench.produce_essays(1, 1)
        bench.broker.open_transaction(PLACE)
        bench.produce_essays(2, 2)
        async with running(bench.consumer_without_queue()):
            await bench.until_committed(1)
            await bench.pass_intervals(A_FEW)
            assert bench.read == [0]

            bench.broker.end_transaction(PLACE)
            await bench.until_committed(3)


class TestStopping:
    async def test_it_waits_for_what_is_on_its_way_to_postgres(self, bench: Bench) -> None:
        bench.be_patient()
        bench.produce_essays(1, 10)
        consumer = bench.consumer()
        async with running(consumer) as run:
            await bench.until_applied(10)
            consumer.stop()
            await bench.pass_intervals(1)
            assert not run.done()
            bench.queue.hold_all()

        assert bench.committed[PLACE] == 10
        assert consumer.condition.state is ConsumerState.STOPPED

    async def test_it_finishes_the_poll_in_hand(self, bench: Bench) -> None:
        bench.be_patient()
        bench.produce_essays(1, 3)
        consumer = bench.consumer_without_queue()
        bench.repository.may_answer.clear()
        async with running(consumer) as run:
            await until(lambda: bench.repository.calls == 1)
            consumer.stop()
            await bench.pass_intervals(1)
            assert not run.done()
            bench.repository.may_answer.set()

        assert bench.committed[PLACE] == 3

    async def test_it_does_not_wait_for_a_store_that_hangs(self, bench: Bench) -> None:
        bench.repository.may_answer.clear()
        bench.produce_essays(1, 1)
        async with running(bench.consumer()):
            await until(lambda: bench.repository.calls == 1)

        assert not bench.committed

    @pytest.mark.parametrize("down", ["queue", "repository"])
    async def test_it_does_not_wait_for_a_store_that_is_down(self, bench: Bench, down: str) -> None:
        consumer = bench.consumer()
        async with running(consumer):
            bench.produce(spellchecked("b1", "e1"))
            await bench.until_applied(1)
            (bench.queue if down == "queue" else bench.repository).failures = 10**9
            bench.produce(spellchecked("b1", "e2"))
            await bench.pass_intervals(A_FEW)

        assert not bench.committed

    async def test_a_poll_that_waits_for_a_store_is_abandoned_at_once(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(timing, "FIRST_DELAY_SECONDS", 60)
        bench.be_patient()
        bench.policy = replace(bench.policy, max_backoff_seconds=60)
        bench.repository.failures = 10**9
        bench.produce_essays(1, 1)
        with capture_logs() as logs:
            async with running(bench.consumer()):
                await until(lambda: bench.repository.calls == 1)

        assert "poll_abandoned" in {one["event"] for one in logs}

    async def test_before_the_start_it_is_not_lost(self, bench: Bench) -> None:
        consumer = bench.consumer()
        consumer.stop()
        await consumer.run()

        assert consumer.condition.state is ConsumerState.STOPPED
