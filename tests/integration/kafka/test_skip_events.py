"""Skip events over a real broker: many at once, each acknowledged, none lost for another's sake."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from batch_conductor_service.domain.resolution import SkippedPhase
from batch_conductor_service.implementations.kafka.skip_events import KafkaSkipEventPublisher
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.resolving.announcing import (
    ResolutionAnnouncer,
    SkipPolicy,
    SkipQueue,
    skipped_phases,
)
from common_core.topics import EventName, topic_name
from local_stack.kafka import KafkaBroker
from service_libs.kafka import producer as producer_module
from service_libs.kafka.producer import KafkaProducerClient
from service_libs.timing import SystemClock
from tests.support.announcing import running_to_its_end
from tests.support.consuming import ControlledDlq
from tests.support.kafka import create_topics, read_records, unique, until
from tests.support.resolutions import resolution_of

MANY = 3000
EVENTS, PER_SECOND = 17_000, 4 * 600  # at 600 questions a second, each with four phases pruned
ROOM = 4_000  # far less than there are events: what is slower than they come drops some


def producer_to(servers: str) -> KafkaProducerClient:
    return KafkaProducerClient(
        servers, client_id="test", enable_idempotence=False, request_timeout_seconds=2
    )


def events_for(*batches: str) -> list[SkippedPhase]:
    """Return an event of each batch."""
    now = datetime.now(UTC)
    return list(
        chain.from_iterable(
            skipped_phases(resolution_of(batch, "spellcheck"), now) for batch in batches
        )
    )


def publisher_to(
    topic: str, producer: KafkaProducerClient, counts: "Counts"
) -> KafkaSkipEventPublisher:
    """Return a publisher to a topic that nobody else has."""
    publisher = KafkaSkipEventPublisher(producer, counts.metrics)
    publisher.topic = topic
    return publisher


class Counts:
    """What became of the events, as the metrics tell."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.metrics = Metrics(self._registry)

    def of(self, outcome: str) -> float:
        labels = {"step": "spellcheck", "outcome": outcome}
        return self._registry.get_sample_value("bcs_phase_skipped_events_total", labels) or 0


@pytest.fixture
async def topic(kafka_bootstrap_servers: str) -> str:
    name = unique("skips")
    await create_topics(kafka_bootstrap_servers, name, partitions=2)
    return name


@pytest.fixture
async def producer(kafka_bootstrap_servers: str) -> AsyncIterator[KafkaProducerClient]:
    client = producer_to(kafka_bootstrap_servers)
    yield client
    await client.stop()


async def test_all_events_of_a_batch_are_acknowledged(
    kafka_bootstrap_servers: str, topic: str, producer: KafkaProducerClient
) -> None:
    counts = Counts()
    events = events_for(*(f"b{n}" for n in range(MANY)))

    unpublished = await publisher_to(topic, producer, counts).publish_skips(events)

    assert unpublished == {}
    assert counts.of("published") == MANY
    records = await read_records(kafka_bootstrap_servers, topic, MANY)
    ids = {json.loads(record.value or b"")["event_id"] for record in records}
    assert ids == {str(event.event_id) for event in events}


async def test_none_is_dropped_at_600_questions_a_second(
    topic: str, producer: KafkaProducerClient
) -> None:
    counts = Counts()
    [event] = events_for("b1")
    queue = SkipQueue(
        publisher_to(topic, producer, counts),
        counts.metrics,
        SkipPolicy(capacity=ROOM),
    )
    added, began = 0, time.monotonic()

    async with running_to_its_end(queue):
        while added < EVENTS:
            due = min(EVENTS, int((time.monotonic() - began) * PER_SECOND))
            queue.add([replace(event, event_id=uuid4()) for _ in range(added, due)])
            added = due
            await asyncio.sleep(0.01)

    assert counts.of("dropped") == 0
    assert counts.of("published") == EVENTS


async def test_one_that_is_too_large_is_dropped_and_the_others_are_sent(
    kafka_bootstrap_servers: str,
    topic: str,
    producer: KafkaProducerClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(producer_module, "MAX_REQUEST_BYTES", 4000)
    counts = Counts()
    events = events_for("b1", "b2", "b3")
    events[1] = replace(events[1], correlation_id="x" * 5000)

    with capture_logs() as logs:
        unpublished = await publisher_to(topic, producer, counts).publish_skips(events)

    assert unpublished == {}
    records = await read_records(kafka_bootstrap_servers, topic, 2)
    assert {record.key for record in records} == {b"b1", b"b3"}
    (line,) = [entry for entry in logs if entry["event"] == "skip_event_too_large"]
    assert line["event_id"] == str(events[1].event_id)
    assert (counts.of("published"), counts.of("failed")) == (2, 1)


async def test_a_broker_that_is_away_for_a_while_is_told_all_when_it_is_back(
    own_kafka: KafkaBroker,
) -> None:
    servers, counts = own_kafka.bootstrap_servers, Counts()
    await create_topics(servers, topic_name(EventName.PHASE_SKIPPED))
    client = producer_to(servers)
    announcer = ResolutionAnnouncer(
        KafkaSkipEventPublisher(client, counts.metrics),
        ControlledDlq(),
        counts.metrics,
        SystemClock(),
    )
    assert own_kafka.pid
    try:
        async with running_to_its_end(announcer):
            announcer.announce(resolution_of("b0", "spellcheck"))
            await until(lambda: counts.of("published") == 1)
            os.kill(own_kafka.pid, signal.SIGSTOP)
            for n in range(1, MANY):
                announcer.announce(resolution_of(f"b{n}", "spellcheck"))
            await until(lambda: counts.of("failed") > 0)
            assert announcer.waiting_skips == MANY - 1
            os.kill(own_kafka.pid, signal.SIGCONT)
            await until(lambda: announcer.waiting_skips == 0)
    finally:
        await client.stop()

    assert counts.of("dropped") == 0
    assert counts.of("published") == MANY
    records = await read_records(servers, topic_name(EventName.PHASE_SKIPPED), MANY)
    assert {record.key for record in records} <= {f"b{n}".encode() for n in range(MANY)}
