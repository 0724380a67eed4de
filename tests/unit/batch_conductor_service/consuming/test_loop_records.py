"""What becomes of records that cannot be applied, or not even be read."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from service_libs.exceptions import DeadLetterLimitError, HaltError, UnreadableRecordError
from service_libs.kafka.condition import ConsumerState
from service_libs.kafka.policy import DeadLetterLimit
from tests.support.builders import spellchecked
from tests.support.loops import PLACE, SPELLCHECK, WAIT_SECONDS, Bench, garbage, running, until

LIMIT = DeadLetterLimit(max_invalid_ratio=0.5, min_invalid_records=10)


class TestInvalidRecords:
    async def test_they_are_dead_lettered_and_do_not_stop_the_others(self, bench: Bench) -> None:
        events = [spellchecked("b1", "e1"), garbage(1), spellchecked("b1", "e2"), garbage(2)]
        bench.produce(*events, partition=1, headers=[("trace", b"\x00\xff")])
        async with running(bench.consumer()):
            await until(lambda: len(bench.dlq.letters) == 2)
            bench.queue.hold_all()
            await until(lambda: bench.committed.get((SPELLCHECK, 1)) == 4)

        first = bench.dlq.letters[0]
        assert await bench.repository.completed("b1") == {"e1", "e2"}
        assert (first.payload, first.key) == (b"\xff garbage 1", b"key")
        assert list(first.headers) == [("trace", b"\x00\xff")]
        assert (first.base_topic, first.partition, first.offset) == (SPELLCHECK, 1, 1)
        assert (first.reason, first.consumer_group) == ("not_utf8", bench.policy.group_id)
        assert bench.count_events("dead_lettered") == 2

    async def test_a_poll_of_nothing_else_is_committed(self, bench: Bench) -> None:
        bench.produce(garbage(1))
        async with running(bench.consumer()):
            await bench.until_committed(1)

        assert len(bench.dlq.letters) == 1
        assert bench.repository.calls == 0

    async def test_no_offset_passes_one_before_its_dead_letter_is_acknowledged(
        self, bench: Bench
    ) -> None:
        bench.dlq.failures = 10**9
        bench.produce(garbage(1), spellchecked("b1", "e1"))
        async with running(bench.consumer()):
            await until(lambda: bench.dlq.tries >= 3)
            bench.queue.hold_all()
            assert not bench.committed

            bench.dlq.failures = 0
            await bench.until_committed(2)

        assert len(bench.dlq.letters) == 1

    async def test_a_refused_update_is_dead_lettered_alone(self, bench: Bench) -> None:
        bench.repository.refused = {"b2"}
        events = [spellchecked(batch, "e1") for batch in ("b1", "b2", "b3")]
        bench.produce(*events)
        async with running(bench.consumer()):
            await until(lambda: len(bench.dlq.letters) == 1)
            bench.queue.hold_all()
            await bench.until_committed(3)

        assert [letter.reason for letter in bench.dlq.letters] == ["refused_update"]
        assert bench.dlq.letters[0].payload == events[1].value
        assert await bench.repository.completed("b3") == {"e1"}

    async def test_a_flood_halts_the_consumer_before_it_is_dead_lettered(
        self, bench: Bench
    ) -> None:
        bench.policy = replace(bench.policy, dlq_limit=LIMIT)
        bench.produce(*map(garbage, range(50)))
        consumer = bench.consumer()

        await halt(consumer.run(), DeadLetterLimitError)

        assert consumer.condition.state is ConsumerState.HALTED
        assert "cannot be applied" in str(consumer.condition.trouble)
        assert len(bench.dlq.letters) < 10
        assert not bench.committed

    async def test_those_that_are_read_again_do_not_halt_the_consumer(self, bench: Bench) -> None:
        bench.policy = replace(bench.policy, dlq_limit=LIMIT)
        bench.produce(spellchecked("b1", "e1"), *map(garbage, range(6)))
        async with running(bench.consumer()):
            await until(lambda: len(bench.dlq.letters) == 6)
            bench.queue.replace()
            await until(lambda: len(bench.dlq.letters) == 12)
            bench.queue.hold_all()
            await bench.until_committed(7)


class TestUnreadableRecords:
    async def test_a_transfer_that_went_wrong_twice_is_read_again_and_nothing_is_lost(
        self, bench: Bench
    ) -> None:
        """What the same poll had of the other partition is read again, too."""
        bench.produce_essays(1, 2)
        bench.produce_essays(11, 12, partition=1)
        bench.broker.damage(PLACE, 1, failures=2, is_final=False)
        with capture_logs():
            async with running(bench.consumer()):
                await bench.until_applied(4)

        assert await bench.repository.completed("b1") == {"e1", "e2", "e11", "e12"}
        assert len(bench.sources) == 3

    async def test_one_that_stays_so_halts_the_consumer(self, bench: Bench) -> None:
        bench.produce_essays(1, 2)
        bench.broker.damage(PLACE, 1, is_final=False)
        consumer = bench.consumer()

        error = await halt(consumer.run(), UnreadableRecordError)

        assert f"{SPELLCHECK}:0:" in str(error)
        assert consumer.condition.state is ConsumerState.HALTED
        assert len(bench.sources) == 3
        assert not bench.committed

    async def test_one_that_is_known_to_be_so_halts_it_at_once(self, bench: Bench) -> None:
        bench.produce_essays(1, 1)
        bench.broker.damage(PLACE, 0, is_final=True)

        await halt(bench.consumer().run(), UnreadableRecordError)

        assert len(bench.sources) == 1

    async def test_a_halted_consumer_has_left_the_group(self, bench: Bench) -> None:
        bench.produce_essays(1, 1)
        bench.broker.damage(PLACE, 0, is_final=True)
        consumer = bench.consumer()

        await halt(consumer.run(), UnreadableRecordError)

        assert bench.broker.group(bench.policy.group_id).members == []
        assert consumer.promises() == {}


async def halt(run: Coroutine[None, None, None], kind: type[HaltError]) -> HaltError:
    """Return the error with which the run halts."""
    with capture_logs(), pytest.raises(kind) as raised:
        await asyncio.wait_for(run, WAIT_SECONDS)
    return raised.value
