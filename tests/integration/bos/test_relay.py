"""What was saved goes to the broker as it was saved, in order within a batch, by one sender."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_orchestrator_service.events.messages import OutgoingMessage
from batch_orchestrator_service.implementations.postgres.outbox import PostgresOutbox
from batch_orchestrator_service.implementations.postgres.runs import PostgresRunStore
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.running.relay import Relay
from batch_orchestrator_service.running.watch import OverdueWatch
from batch_orchestrator_service.signals import Signals
from local_stack.kafka import KafkaBroker
from service_libs.kafka.producer import MAX_REQUEST_BYTES, KafkaProducerClient
from service_libs.timing import SystemClock
from tests.support.kafka import create_topics, unique
from tests.support.neighbours import read_values
from tests.support.orchestrating import named
from tests.support.waiting import eventually


def message(topic: str, batch: str, number: int) -> OutgoingMessage:
    """Return a message of a batch."""
    return OutgoingMessage(
        message_id=named(f"{topic}-{batch}-{number}"),
        run_id=UUID(int=1),
        phase=None,
        topic=topic,
        key=batch.encode(),
        value=f"{batch} {number}".encode(),
    )


async def save(engine: AsyncEngine, *messages: OutgoingMessage) -> None:
    """Save messages, each with the batch that its key names."""
    store = PostgresRunStore(engine, SystemClock())
    for one in messages:
        async with store.lock(one.key.decode()) as batch:
            await batch.save(batch.state, [one])


@asynccontextmanager
async def relaying(engine: AsyncEngine, servers: str) -> AsyncIterator[Relay]:
    """Run a relay until the end of the block."""
    producer = KafkaProducerClient(
        servers, client_id="test", enable_idempotence=False, request_timeout_seconds=2
    )
    metrics = Metrics(CollectorRegistry())
    relay = Relay(PostgresOutbox(engine), producer, metrics, SystemClock(), Signals())
    running = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        relay.stop()
        await running
        await producer.stop()


async def until_sent(engine: AsyncEngine, left: int = 0) -> None:
    """Wait until no more than so many wait."""

    async def is_sent() -> bool:
        backlog = await PostgresOutbox(engine).get_backlog(SystemClock().now())
        return backlog.depth <= left

    await eventually(is_sent, timeout_seconds=30, what="the relay")


async def test_messages_go_out_in_order_within_their_batch(
    bos_engine: AsyncEngine, kafka_bootstrap_servers: str
) -> None:
    topic = unique("commands")
    await create_topics(kafka_bootstrap_servers, topic)
    await save(bos_engine, *[message(topic, b, n) for n in range(3) for b in ("a", "b")])

    async with relaying(bos_engine, kafka_bootstrap_servers):
        await until_sent(bos_engine)
        await save(bos_engine, message(topic, "a", 3))
        await until_sent(bos_engine)

    for batch, count in (("a", 4), ("b", 3)):
        sent = await read_values(kafka_bootstrap_servers, topic, batch.encode())
        assert sent == [f"{batch} {number}".encode() for number in range(count)]


async def test_a_message_that_is_not_taken_holds_up_only_its_own_batch(
    bos_engine: AsyncEngine, kafka_bootstrap_servers: str
) -> None:
    topic = unique("commands")
    await create_topics(kafka_bootstrap_servers, topic)
    too_large = replace(message(topic, "a", 1), value=bytes(MAX_REQUEST_BYTES + 1))
    behind = [message(topic, f"b{number}", number) for number in range(5)]
    await save(bos_engine, too_large, message(topic, "a", 2), *behind)

    async with relaying(bos_engine, kafka_bootstrap_servers):
        await until_sent(bos_engine, left=2)
        await asyncio.sleep(0.5)

    assert await read_values(kafka_bootstrap_servers, topic, b"a") == []
    assert await read_values(kafka_bootstrap_servers, topic, b"b4") == [b"b4 4"]


async def test_a_broker_that_is_away_is_waited_for(
    bos_engine: AsyncEngine, own_kafka: KafkaBroker
) -> None:
    topic = unique("commands")
    own_kafka.kill()
    await save(bos_engine, message(topic, "a", 1))

    async with relaying(bos_engine, own_kafka.bootstrap_servers):
        await asyncio.sleep(1)
        own_kafka.start()
        await create_topics(own_kafka.bootstrap_servers, topic)
        await until_sent(bos_engine)

    assert await read_values(own_kafka.bootstrap_servers, topic, b"a") == [b"a 1"]


async def test_one_of_two_relays_sends_and_the_other_takes_over(
    bos_engine: AsyncEngine, kafka_bootstrap_servers: str
) -> None:
    topic = unique("commands")
    await create_topics(kafka_bootstrap_servers, topic)

    async with relaying(bos_engine, kafka_bootstrap_servers):
        async with relaying(bos_engine, kafka_bootstrap_servers):
            await save(bos_engine, *[message(topic, "a", number) for number in range(5)])
            await until_sent(bos_engine)
        await save(bos_engine, *[message(topic, "a", number) for number in range(5, 8)])
        await until_sent(bos_engine)

    sent = await read_values(kafka_bootstrap_servers, topic, b"a")
    assert sent == [f"a {number}".encode() for number in range(8)]


async def test_what_waits_and_what_is_overdue_is_shown(bos_engine: AsyncEngine) -> None:
    registry = CollectorRegistry()
    await save(bos_engine, message("topic", "a", 1))
    outbox = PostgresOutbox(bos_engine)
    store = PostgresRunStore(bos_engine, SystemClock())
    watch = OverdueWatch(store, outbox, Metrics(registry), SystemClock())

    running = asyncio.create_task(watch.run())
    await eventually(lambda: bool(registry.get_sample_value("bos_outbox_oldest_age_seconds")))
    watch.stop()
    await running

    assert registry.get_sample_value("bos_outbox_depth") == 1
    assert registry.get_sample_value("bos_stalled_phases") == 0
