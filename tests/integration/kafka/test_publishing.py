"""What BCS publishes, read back from a real broker; and what happens when there is none."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from batch_conductor_service.domain.resolution import SkippedPhase
from batch_conductor_service.implementations.kafka.skip_events import KafkaSkipEventPublisher
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.resolving.announcing import skipped_phases
from common_core.topics import EventName, dlq_topic_name, topic_name
from local_stack.kafka import KafkaBroker
from local_stack.ports import find_free_port
from service_libs.exceptions import BrokerUnavailableError
from service_libs.kafka import producer as producer_module
from service_libs.kafka.dead_letter_format import subject_of
from service_libs.kafka.dlq_producer import KafkaDlqProducerImpl
from service_libs.kafka.producer import KafkaProbe, KafkaProducerClient, MessageTooLargeError
from service_libs.kafka.records import DeadLetter
from service_libs.timing import SystemClock
from tests.support.kafka import create_topics, read_records, unique
from tests.support.letters import LETTERS
from tests.support.resolutions import resolution_of

TOPIC_LIMIT = 4000  # bytes


def producer_to(servers: str, *, timeout_seconds: float = 10) -> KafkaProducerClient:
    """Return a producer for any broker."""
    return KafkaProducerClient(
        servers, client_id="test", enable_idempotence=False, request_timeout_seconds=timeout_seconds
    )


def skips_of(batch: str, *steps: str) -> list[SkippedPhase]:
    """Return the events of a resolution that pruned these steps."""
    return skipped_phases(resolution_of(batch, *steps), datetime.now(UTC))


def letter_for(topic: str, payload: bytes | None) -> DeadLetter:
    """Return the dead letter of a record of the topic."""
    return DeadLetter(
        base_topic=topic,
        reason="not_json",
        error_type="InvalidMessageError",
        error_message="the value is not JSON",
        payload=payload,
        key=b"\x00key",
        headers=(("trace", b"\xff"),),
        partition=0,
        offset=7,
    )


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b'{"data": {"batch_id": "b1"}}', id="an event"),
        pytest.param(b"\xff\x00\xfe", id="not text"),
        pytest.param(None, id="no value"),
        pytest.param(b'{"a": "' + b"x" * 1_000_000 + b'"}', id="the largest"),
    ],
)
async def test_the_original_is_had_back_from_its_dead_letter(
    kafka_bootstrap_servers: str, payload: bytes | None
) -> None:
    topic = unique("topic")
    await create_topics(kafka_bootstrap_servers, dlq_topic_name(topic))
    producer = producer_to(kafka_bootstrap_servers)
    registry = CollectorRegistry()
    letter = letter_for(topic, payload)
    try:
        with capture_logs() as logs:
            await KafkaDlqProducerImpl(producer, LETTERS, Metrics(registry), SystemClock()).publish(
                letter
            )
    finally:
        await producer.stop()

    (line,) = [entry for entry in logs if entry["event"] == "dead_letter_published"]
    assert (line["topic"], line["partition"], line["offset"]) == (topic, 0, 7)
    assert line.items() >= subject_of(letter).items()
    record = (await read_records(kafka_bootstrap_servers, f"{topic}.DLQ", 1))[0]
    original = LETTERS.original_record(record.value or b"", record.headers)
    labels = {"topic": f"{topic}.DLQ", "reason": "not_json", "outcome": "published"}
    assert record.key == b"\x00key"
    assert original == (topic, b"\x00key", payload, [("trace", b"\xff")])
    assert registry.get_sample_value("bcs_dlq_messages_total", labels) == 1


class NarrowProducer(KafkaProducerClient):
    """A producer to topics that take little, as a broker's limit makes them."""

    LIMIT = 2000

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        headers: Sequence[tuple[str, bytes]],
    ) -> None:
        if len(value) > self.LIMIT:
            raise MessageTooLargeError
        await super().send(topic, key, value, headers)


async def test_a_document_too_large_for_its_topic_is_sent_as_the_original(
    kafka_bootstrap_servers: str,
) -> None:
    topic = unique("topic")
    await create_topics(kafka_bootstrap_servers, dlq_topic_name(topic))
    producer = NarrowProducer(
        kafka_bootstrap_servers,
        client_id="test",
        enable_idempotence=False,
        request_timeout_seconds=10,
    )
    letter = letter_for(topic, b"\xfe" * NarrowProducer.LIMIT)
    try:
        dlq = KafkaDlqProducerImpl(producer, LETTERS, Metrics(CollectorRegistry()), SystemClock())
        await dlq.publish(letter)
    finally:
        await producer.stop()

    record = (await read_records(kafka_bootstrap_servers, f"{topic}.DLQ", 1))[0]
    assert record.value == letter.payload
    original = LETTERS.original_record(record.value or b"", record.headers)
    assert original == (topic, b"\x00key", letter.payload, [("trace", b"\xff")])


async def test_a_record_too_large_for_its_dead_letter_is_told_of_and_holds_nothing_up(
    kafka_bootstrap_servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = unique("topic")
    await create_topics(
        kafka_bootstrap_servers,
        dlq_topic_name(topic),
        configuration={"max.message.bytes": str(TOPIC_LIMIT)},
    )
    monkeypatch.setattr(producer_module, "MAX_REQUEST_BYTES", 2 * TOPIC_LIMIT)
    producer = producer_to(kafka_bootstrap_servers)
    dlq = KafkaDlqProducerImpl(producer, LETTERS, Metrics(CollectorRegistry()), SystemClock())
    try:
        with capture_logs() as logs:
            # Too large for the producer; and, as chance does not compress, for the topic.
            await dlq.publish(letter_for(topic, b"x" * 2 * TOPIC_LIMIT))
            await dlq.publish(letter_for(topic, random.Random(0).randbytes(TOPIC_LIMIT)))
            await dlq.publish(letter_for(topic, b"small"))
    finally:
        await producer.stop()

    first, _, last = await read_records(kafka_bootstrap_servers, f"{topic}.DLQ", 3)
    document = json.loads(first.value or b"")
    assert document["payload_encoding"] == "omitted"
    assert document["additional_metadata"]["original_offset"] == 7
    assert LETTERS.original_record(last.value or b"", last.headers).value == b"small"
    assert "dead_letter_without_payload" in [e["event"] for e in logs if e["log_level"] == "error"]


async def test_what_is_larger_than_a_producer_may_send_is_said_to_be_too_large(
    kafka_bootstrap_servers: str,
) -> None:
    topic = unique("topic")
    await create_topics(kafka_bootstrap_servers, topic)
    producer = producer_to(kafka_bootstrap_servers)
    try:
        with pytest.raises(MessageTooLargeError):
            await producer.send(topic, None, b"x" * 5_000_000, ())
        await producer.send(topic, None, b"small", ())
    finally:
        await producer.stop()


async def test_each_skipped_phase_is_told_once(own_kafka: KafkaBroker) -> None:
    servers = own_kafka.bootstrap_servers
    topic = topic_name(EventName.PHASE_SKIPPED)
    await create_topics(servers, topic)
    producer = producer_to(servers)
    registry = CollectorRegistry()
    publisher = KafkaSkipEventPublisher(producer, Metrics(registry))
    try:
        unpublished = await publisher.publish_skips(skips_of("b1", "spellcheck", "nlp"))
    finally:
        await producer.stop()

    records = await read_records(servers, topic, 2)
    phases = {json.loads(record.value or b"")["data"]["phase_name"] for record in records}
    labels = {"step": "nlp", "outcome": "published"}
    assert unpublished == {}
    assert phases == {"spellcheck", "nlp"}
    assert {record.key for record in records} == {b"b1"}
    assert registry.get_sample_value("bcs_phase_skipped_events_total", labels) == 1


async def test_without_a_broker_everything_fails_fast_and_is_counted() -> None:
    producer = producer_to(f"127.0.0.1:{find_free_port()}", timeout_seconds=1)
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    dlq = KafkaDlqProducerImpl(producer, LETTERS, metrics, SystemClock())
    skips = KafkaSkipEventPublisher(producer, metrics)
    events = skips_of("b1", "nlp", "spellcheck")
    try:
        with pytest.raises(BrokerUnavailableError):
            await KafkaProbe(producer).ping()
        with pytest.raises(BrokerUnavailableError, match=r"topic\.DLQ"):
            await dlq.publish(letter_for("topic", b"x"))
        assert set(await skips.publish_skips(events)) == {event.event_id for event in events}
    finally:
        await producer.stop()

    failed = {"topic": "topic.DLQ", "reason": "not_json", "outcome": "failed"}
    assert registry.get_sample_value("bcs_dlq_messages_total", failed) == 1
    failed = {"step": "nlp", "outcome": "failed"}
    assert registry.get_sample_value("bcs_phase_skipped_events_total", failed) == 1


async def test_a_broker_that_went_away_is_noticed_and_its_successor_found(tmp_path: Path) -> None:
    port = find_free_port()
    broker = KafkaBroker(tmp_path / "first", port=port)
    broker.start()
    await create_topics(broker.bootstrap_servers, "topic")
    producer = producer_to(broker.bootstrap_servers, timeout_seconds=1)
    probe = KafkaProbe(producer)
    try:
        await probe.ping()
        await producer.send("topic", None, b"1", ())
        broker.kill()
        with pytest.raises(BrokerUnavailableError):
            await producer.send("topic", None, b"2", ())
        with pytest.raises(BrokerUnavailableError):
            await probe.ping()

        broker = KafkaBroker(tmp_path / "second", port=port)
        broker.start()
        await create_topics(broker.bootstrap_servers, "topic")
        await probe.ping()
        await producer.send("topic", None, b"3", ())
    finally:
        await producer.stop()
        broker.kill()


async def test_stop_is_bounded_while_a_message_waits_for_a_broker_that_went_away(
    tmp_path: Path,
) -> None:
    broker = KafkaBroker(tmp_path)
    broker.start()
    await create_topics(broker.bootstrap_servers, "topic")
    producer = producer_to(broker.bootstrap_servers, timeout_seconds=30)
    await producer.send("topic", None, b"1", ())
    broker.kill()
    sending = asyncio.create_task(producer.send("topic", None, b"2", ()))
    await asyncio.sleep(0.2)

    started = time.monotonic()
    await producer.stop()

    assert time.monotonic() - started < 5
    with pytest.raises(BrokerUnavailableError):
        await sending
