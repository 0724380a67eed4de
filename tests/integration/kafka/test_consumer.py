"""The consumer against a real broker, over a repository in memory and a queue that tests control.

The repository applies what real ones apply; that Postgres holds it is said by the test.
"""

import asyncio
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.protocols import PersistenceQueueProtocol
from common_core.topics import EventName, topic_name
from local_stack.kafka import KafkaBroker
from service_libs.exceptions import DeadLetterLimitError
from service_libs.kafka.condition import ConsumerState
from service_libs.kafka.policy import DeadLetterLimit
from tests.support.builders import RecordedEvent, spellchecked
from tests.support.consuming import ControlledDlq, ControlledQueue, ControlledRepository
from tests.support.kafka import (
    committed_offsets,
    create_consumed_topics,
    produce,
    running,
    unique,
    until,
)
from tests.support.membership import consumer_with

SPELLCHECK = topic_name(EventName.SPELLCHECK_PHASE_COMPLETED)
INTERVAL_SECONDS = 0.1


class Bench:
    """A broker with the topics, and everything around a consumer."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.queue = ControlledQueue()
        self.repository = ControlledRepository(self.queue)
        self.dlq = ControlledDlq()
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.policy = ConsumerPolicy(
            bootstrap_servers=servers,
            group_id=unique("group"),
            commit_interval_seconds=INTERVAL_SECONDS,
            drain_timeout_seconds=1,
            metadata_max_age_seconds=1,
            session_timeout_seconds=2,
            max_backoff_seconds=0.2,
        )

    def consumer(
        self,
        *,
        repository: ControlledRepository | None = None,
        queue: PersistenceQueueProtocol | None = None,
    ) -> EventConsumer:
        """Return a consumer of the group."""
        return consumer_with(
            self.policy,
            repository or self.repository,
            queue=queue or self.queue,
            dlq=self.dlq,
            metrics=self.metrics,
        )

    async def produce_essays(self, batch: str, first: int, last: int) -> None:
        """Produce one event for each essay."""
        await produce(self.servers, [spellchecked(batch, f"e{n}") for n in range(first, last + 1)])

    async def until_applied(self, batch: str, count: int) -> None:
        """Return when so many essays of the batch are known."""

        async def is_applied() -> bool:
            return len(await self.repository.completed(batch)) >= count

        await until(is_applied)

    async def committed(self) -> int:
        """Return how many records of the topic are committed, over its partitions."""
        return sum(
            (await committed_offsets(self.servers, self.policy.group_id, SPELLCHECK)).values()
        )

    async def until_committed(self, count: int) -> None:
        """Return when so many records are committed."""

        async def is_committed() -> bool:
            return await self.committed() >= count

        await until(is_committed)

    def count(self, outcome: str) -> float:
        """Return how many events had this outcome."""
        labels = {"event_type": EventName.SPELLCHECK_PHASE_COMPLETED.value, "outcome": outcome}
        return self.registry.get_sample_value("bcs_events_processed_total", labels) or 0


@pytest.fixture
async def bench(own_kafka: KafkaBroker) -> Bench:
    """A broker with all topics."""
    await create_consumed_topics(own_kafka.bootstrap_servers)
    return Bench(own_kafka.bootstrap_servers)


def garbage(number: int) -> RecordedEvent:
    """Return a record that is no event."""
    return RecordedEvent(SPELLCHECK, b"key", b"\xff garbage %d" % number)


async def test_nothing_is_committed_until_postgres_holds_it(bench: Bench) -> None:
    async with running(bench.consumer()):
        await bench.produce_essays("b1", 1, 20)
        await bench.until_applied("b1", 20)
        await asyncio.sleep(3 * INTERVAL_SECONDS)
        committed_before = await bench.committed()

        bench.queue.hold_all()
        await bench.until_committed(20)

    assert committed_before == 0
    assert await bench.committed() == 20
    assert bench.count("applied") == 20


async def test_a_restart_reads_again_what_was_not_held_and_nothing_else(bench: Bench) -> None:
    async with running(bench.consumer()):
        await bench.produce_essays("b1", 1, 10)
        await bench.until_applied("b1", 10)
        bench.queue.hold_all()
        await bench.until_committed(10)
        await bench.produce_essays("b1", 11, 15)
        await bench.until_applied("b1", 15)

    successor = ControlledRepository(bench.queue)
    async with running(bench.consumer(repository=successor)):
        await until(lambda: len(successor.applied) >= 5)

    assert await successor.completed("b1") == {f"e{n}" for n in range(11, 16)}


async def test_stop_waits_for_what_is_on_its_way_to_postgres(bench: Bench) -> None:
    consumer = bench.consumer()
    async with running(consumer) as run:
        await bench.produce_essays("b1", 1, 10)
        await bench.until_applied("b1", 10)
        consumer.stop()
        await asyncio.sleep(INTERVAL_SECONDS)
        assert not run.done()
        bench.queue.hold_all()

    assert await bench.committed() == 10
    assert consumer.condition.state is ConsumerState.STOPPED


async def test_without_a_queue_what_is_applied_is_committed(bench: Bench) -> None:
    repository = ControlledRepository()
    consumer = consumer_with(bench.policy, repository, dlq=bench.dlq, metrics=bench.metrics)
    async with running(consumer):
        await bench.produce_essays("b1", 1, 10)
        await bench.until_committed(10)

    assert len(await repository.completed("b1")) == 10


async def test_a_queue_that_came_back_empty_makes_everything_in_flight_read_again(
    bench: Bench,
) -> None:
    async with running(bench.consumer()):
        await bench.produce_essays("b1", 1, 10)
        await bench.until_applied("b1", 10)
        bench.queue.replace()
        await until(lambda: len(bench.repository.applied) >= 20)
        bench.queue.hold_all()
        await bench.until_committed(10)

    assert len(set(bench.repository.applied)) == 10


async def test_a_store_that_is_down_is_waited_for_and_nothing_is_dead_lettered(
    bench: Bench,
) -> None:
    bench.repository.failures = 4
    bench.queue.failures = 2
    consumer = bench.consumer()
    async with running(consumer):
        await bench.produce_essays("b1", 1, 10)
        await until(lambda: consumer.condition.state is ConsumerState.WAITING)
        await bench.until_applied("b1", 10)
        assert consumer.condition.state is ConsumerState.CONSUMING

    assert bench.repository.failures == bench.queue.failures == 0
    assert bench.dlq.letters == []


async def test_a_queue_that_cannot_be_read_only_delays_commits(bench: Bench) -> None:
    async with running(bench.consumer()):
        await bench.produce_essays("b1", 1, 1)
        await bench.until_applied("b1", 1)
        bench.queue.failures = 3
        bench.queue.hold_all()
        await bench.until_committed(1)

    assert bench.queue.failures == 0


async def test_stop_does_not_wait_for_a_queue_that_cannot_be_read(bench: Bench) -> None:
    async with running(bench.consumer()):
        await bench.produce_essays("b1", 1, 2)
        await bench.until_applied("b1", 2)
        bench.queue.failures = 10**9

    assert await bench.committed() == 0


async def test_stop_does_not_wait_for_a_store_that_is_down(bench: Bench) -> None:
    bench.repository.failures = 10**9
    consumer = bench.consumer()
    async with running(consumer):
        await bench.produce_essays("b1", 1, 1)
        await until(lambda: consumer.condition.state is ConsumerState.WAITING)

    assert await bench.committed() == 0


async def test_invalid_records_are_dead_lettered_and_do_not_stop_the_others(bench: Bench) -> None:
    events = [spellchecked("b1", "e1"), garbage(1), spellchecked("b1", "e2"), garbage(2)]
    async with running(bench.consumer()):
        await produce(bench.servers, events, headers=[("trace", b"\x00\xff")], partition=1)
        await until(lambda: len(bench.dlq.letters) == 2)
        bench.queue.hold_all()
        await bench.until_committed(4)

    first = bench.dlq.letters[0]
    assert await bench.repository.completed("b1") == {"e1", "e2"}
    assert (first.payload, first.key) == (b"\xff garbage 1", b"key")
    assert list(first.headers) == [("trace", b"\x00\xff")]
    assert (first.base_topic, first.partition, first.offset) == (SPELLCHECK, 1, 1)
    assert (first.reason, first.consumer_group) == ("not_utf8", bench.policy.group_id)
    assert bench.count("dead_lettered") == 2


async def test_a_poll_of_nothing_but_invalid_records_is_committed(bench: Bench) -> None:
    async with running(bench.consumer()):
        await produce(bench.servers, [garbage(1)], partition=0)
        await bench.until_committed(1)

    assert len(bench.dlq.letters) == 1
    assert bench.repository.calls == 0


async def test_no_offset_passes_an_invalid_record_before_its_dead_letter_is_acknowledged(
    bench: Bench,
) -> None:
    bench.dlq.failures = 10**9
    async with running(bench.consumer()):
        await produce(bench.servers, [garbage(1), spellchecked("b1", "e1")], partition=0)
        await until(lambda: bench.dlq.tries >= 3)
        bench.queue.hold_all()
        assert await bench.committed() == 0

        bench.dlq.failures = 0
        await bench.until_committed(2)

    assert len(bench.dlq.letters) == 1


async def test_a_refused_update_is_dead_lettered_alone(bench: Bench) -> None:
    bench.repository.refused = {"b2"}
    events = [spellchecked("b1", "e1"), spellchecked("b2", "e1"), spellchecked("b3", "e1")]
    async with running(bench.consumer()):
        await produce(bench.servers, events, partition=0)
        await until(lambda: len(bench.dlq.letters) == 1)
        bench.queue.hold_all()
        await bench.until_committed(3)

    assert [letter.reason for letter in bench.dlq.letters] == ["refused_update"]
    assert bench.dlq.letters[0].payload == events[1].value
    assert await bench.repository.completed("b3") == {"e1"}


async def test_a_flood_of_invalid_records_halts_the_consumer_before_it_is_dead_lettered(
    bench: Bench,
) -> None:
    limit = DeadLetterLimit(max_invalid_ratio=0.5, min_invalid_records=10)
    bench.policy = replace(bench.policy, dlq_limit=limit)
    consumer = bench.consumer()
    await produce(bench.servers, map(garbage, range(50)), partition=0)

    with pytest.raises(DeadLetterLimitError):
        await asyncio.wait_for(consumer.run(), 30)

    assert consumer.condition.state is ConsumerState.HALTED
    assert len(bench.dlq.letters) < 10
    assert await bench.committed() == 0


async def test_invalid_records_that_are_read_again_do_not_halt_the_consumer(bench: Bench) -> None:
    limit = DeadLetterLimit(max_invalid_ratio=0.5, min_invalid_records=10)
    bench.policy = replace(bench.policy, dlq_limit=limit)
    async with running(bench.consumer()):
        await produce(bench.servers, [spellchecked("b1", "e1")], partition=0)
        await produce(bench.servers, map(garbage, range(6)), partition=0)
        await until(lambda: len(bench.dlq.letters) == 6)
        bench.queue.replace()
        await until(lambda: len(bench.dlq.letters) == 12)
        bench.queue.hold_all()
        await bench.until_committed(7)


async def test_a_full_queue_pauses_consumption_until_half_of_it_is_persisted(
    bench: Bench,
) -> None:
    bench.policy = replace(bench.policy, queue_high_water=100)
    bench.queue.extra_depth = 101
    consumer = bench.consumer()
    async with running(consumer):
        await until(lambda: consumer.condition.state is ConsumerState.PAUSED)
        await bench.produce_essays("b1", 1, 10)
        bench.queue.extra_depth = 60
        await asyncio.sleep(5 * INTERVAL_SECONDS)
        known_while_paused = len(await bench.repository.completed("b1"))

        bench.queue.extra_depth = 10
        await bench.until_applied("b1", 10)

    assert known_while_paused == 0


async def test_a_queue_that_is_full_by_bytes_pauses_consumption_too(bench: Bench) -> None:
    bench.policy = replace(bench.policy, queue_high_water_bytes=1000)
    bench.queue.size_bytes = 1001
    consumer = bench.consumer()
    async with running(consumer):
        await until(lambda: consumer.condition.state is ConsumerState.PAUSED)
        await bench.produce_essays("b1", 1, 10)
        bench.queue.size_bytes = 600
        await asyncio.sleep(5 * INTERVAL_SECONDS)
        known_while_paused = len(await bench.repository.completed("b1"))

        bench.queue.size_bytes = 500
        await bench.until_applied("b1", 10)

    assert known_while_paused == 0
