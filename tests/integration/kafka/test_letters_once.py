"""A replay does not send again the dead letters that their topic already holds."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import CollectorRegistry

from batch_conductor_service.metrics import Metrics
from common_core.topics import EventName, dlq_topic_name, topic_name
from local_stack.kafka import KafkaBroker
from service_libs.kafka.dlq_producer import KafkaDlqProducerImpl
from service_libs.kafka.held_letters import HeldDeadLetters, OnceOnlyDlqProducer
from service_libs.kafka.producer import KafkaProducerClient
from service_libs.kafka.records import DeadLetter
from service_libs.memory.broker import MemoryBroker
from service_libs.timing import SystemClock
from tests.support.builders import RecordedEvent, spellchecked
from tests.support.consuming import ControlledDlq, ControlledQueue, ControlledRepository
from tests.support.kafka import create_consumed_topics, produce, running, until
from tests.support.letters import LETTERS
from tests.support.loops import create_consumed_topics as create_topics_in_memory
from tests.support.loops import memory_connect, quick_policy
from tests.support.loops import produce as produce_in_memory
from tests.support.membership import consumer_with
from tests.support.replaying import MemoryReplayRequests

SPELLCHECK = topic_name(EventName.SPELLCHECK_PHASE_COMPLETED)
PLACE = (SPELLCHECK, 0)
GARBAGE = [RecordedEvent(SPELLCHECK, b"key", f"garbage {n}".encode()) for n in range(3)]


class Bench:
    """A broker for dead letters, and members of a group in memory that publish them for real."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.queue = ControlledQueue()
        self.requests = MemoryReplayRequests()
        self.policy = quick_policy()
        self.records = MemoryBroker()
        create_topics_in_memory(self.records)
        self.registry = CollectorRegistry()
        self.repository = ControlledRepository(self.queue)

    def dlq(self, metrics: Metrics) -> tuple[OnceOnlyDlqProducer, KafkaProducerClient]:
        """Return what sends dead letters, as a process that has just started has it."""
        client = KafkaProducerClient(
            self.servers, client_id="test", enable_idempotence=False, request_timeout_seconds=10
        )
        producer = KafkaDlqProducerImpl(client, LETTERS, metrics, SystemClock())
        return OnceOnlyDlqProducer(producer, self.held(), metrics), client

    def held(self) -> HeldDeadLetters:
        """Return what a process that has just started knows."""
        return HeldDeadLetters(
            self.servers, self.policy.group_id, LETTERS, request_timeout_seconds=10
        )

    async def consume_to(self, offset: int, *, from_offset: int | None = None) -> float:
        """Have a new member read up to there, from an earlier offset; return what it held back."""
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        dlq, client = self.dlq(metrics)
        consumer = consumer_with(
            self.policy,
            self.repository,
            queue=self.queue,
            dlq=dlq,
            metrics=metrics,
            requests=self.requests,
            connect=memory_connect(self.records, self.policy),
        )
        if from_offset is not None:
            await self.requests.submit({PLACE: from_offset})
        async with running(consumer):
            await until(lambda: not self.requests.waiting)

            def is_committed() -> bool:
                self.queue.hold_all()
                return self.records.group(self.policy.group_id).committed.get(PLACE) == offset

            await until(is_committed)
        await client.stop()
        labels = {"topic": dlq_topic_name(SPELLCHECK), "reason": "not_json"}
        name, labels["outcome"] = "bcs_dlq_messages_total", "already_held"
        return registry.get_sample_value(name, labels) or 0

    def produce(self, events: Sequence[RecordedEvent]) -> None:
        """Append the records for the members."""
        produce_in_memory(self.records, events, partition=0)

    async def letters(self) -> int:
        """Return how many letters the topic holds."""
        partition = TopicPartition(dlq_topic_name(SPELLCHECK), 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers)
        await consumer.start()
        try:
            ends: dict[TopicPartition, int] = await consumer.end_offsets([partition])
        finally:
            await consumer.stop()
        return ends[partition]


@pytest.fixture
async def bench(own_kafka: KafkaBroker) -> Bench:
    await create_consumed_topics(own_kafka.bootstrap_servers)
    return Bench(own_kafka.bootstrap_servers)


async def test_a_replay_sends_none_again_also_by_another_process(bench: Bench) -> None:
    events = [spellchecked("b1", "e1"), *GARBAGE, spellchecked("b1", "e2")]
    bench.produce(events)
    assert await bench.consume_to(5) == 0

    held_back = await bench.consume_to(5, from_offset=0)

    assert (held_back, await bench.letters()) == (3, 3)


async def test_what_is_new_behind_what_is_held_is_sent(bench: Bench) -> None:
    bench.produce(GARBAGE[:2])
    await bench.consume_to(2)
    bench.produce(GARBAGE[2:])

    held_back = await bench.consume_to(3, from_offset=1)

    assert held_back >= 1  # 2 where the new one was read before the group was moved back
    assert await bench.letters() == 3


LETTER = DeadLetter(
    base_topic=SPELLCHECK,
    reason="not_json",
    error_type="Error",
    error_message="",
    payload=b"garbage",
    partition=0,
    offset=7,
)


async def test_the_same_place_with_other_bytes_is_another_record(bench: Bench) -> None:
    """The topic was deleted and created again: its offsets begin again."""
    dlq, client = bench.dlq(Metrics(bench.registry))
    await dlq.publish(LETTER)

    assert await bench.held().holds(LETTER)
    assert not await bench.held().holds(replace(LETTER, payload=b"other garbage"))
    assert not await bench.held().holds(replace(LETTER, offset=8))
    await client.stop()


async def test_a_letter_without_a_place_is_always_sent(bench: Bench) -> None:
    dlq, client = bench.dlq(Metrics(bench.registry))
    for _ in range(2):
        await dlq.publish(replace(LETTER, partition=None, offset=None))
    await client.stop()

    assert await bench.letters() == 2


async def test_letters_that_are_not_ours_are_passed_by(bench: Bench) -> None:
    topic = dlq_topic_name(SPELLCHECK)
    await produce(bench.servers, [RecordedEvent(topic, b"", b"whatever")])
    await produce(
        bench.servers,
        [RecordedEvent(topic, b"", b"{}")],
        headers=[(f"bcs_dlq-original-{name}", b"x") for name in ("topic", "partition", "offset")],
    )

    assert not await bench.held().holds(LETTER)


async def test_where_letters_cannot_be_read_they_are_sent() -> None:
    metrics, letters = Metrics(CollectorRegistry()), ControlledDlq()
    held = HeldDeadLetters("127.0.0.1:1", "group", LETTERS, request_timeout_seconds=0.5)

    await OnceOnlyDlqProducer(letters, held, metrics).publish(LETTER)

    assert letters.letters == [LETTER]
