"""Kafka as tests see it from outside: what is produced, what a topic holds, what is committed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from common_core.topics import consumed_topics, dlq_topic_name
from service_libs.protocols import BackgroundTaskProtocol
from tests.support.builders import RecordedEvent

WAIT_SECONDS = 30
LOOK_SECONDS = 0.05


def unique(name: str) -> str:
    """Return a name nobody else has."""
    return f"{name}-{uuid4().hex[:12]}"


async def create_topics(
    servers: str,
    *topics: str,
    partitions: int = 1,
    configuration: Mapping[str, str] | None = None,
) -> None:
    """Create the topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics(
            [
                NewTopic(topic, partitions, replication_factor=1, topic_configs=configuration)
                for topic in topics
            ]
        )
    finally:
        await admin.close()


async def create_consumed_topics(servers: str, *, partitions: int = 2) -> None:
    """Create every topic that is consumed, and those of their dead letters."""
    names = consumed_topics()
    await create_topics(servers, *names, partitions=partitions)
    await create_topics(servers, *map(dlq_topic_name, names))


async def produce(
    servers: str,
    events: Iterable[RecordedEvent],
    *,
    headers: Sequence[tuple[str, bytes]] = (),
    partition: int | None = None,
) -> None:
    """Produce the events in order, and return when all are acknowledged."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, max_request_size=4 * 1024 * 1024)
    await producer.start()
    try:
        sent = [
            await producer.send(
                event.topic,
                value=event.value,
                key=event.key,
                headers=list(headers),
                partition=partition,
                timestamp_ms=event.timestamp_ms,
            )
            for event in events
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def read_records(
    servers: str, topic: str, count: int
) -> "list[ConsumerRecord[bytes | None, bytes | None]]":
    """Return the first records of the topic, as soon as there are so many."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


async def committed_offsets(
    servers: str, group: str, topic: str, *, partitions: int = 2
) -> dict[int, int]:
    """Return what the group has committed of the topic, by partition."""
    # Asked as a member without partitions would: not every broker lets the admin client ask.
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        assigned = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(assigned)
        offsets = {tp.partition: await consumer.committed(tp) for tp in assigned}
    finally:
        await consumer.stop()
    return {number: offset for number, offset in offsets.items() if offset is not None}


async def until(is_true: Callable[[], bool | Awaitable[bool]]) -> None:
    """Return once it is true; raise TimeoutError when it does not become so."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            answer = is_true()
            if await answer if isinstance(answer, Awaitable) else answer:
                return
            await asyncio.sleep(LOOK_SECONDS)


@contextlib.asynccontextmanager
async def running(task: BackgroundTaskProtocol) -> AsyncIterator[asyncio.Task[None]]:
    """Run the background task; stop it in order at the end, and raise what it raised."""
    run = asyncio.create_task(task.run())
    try:
        yield run
    finally:
        task.stop()
        await asyncio.wait_for(run, WAIT_SECONDS)
