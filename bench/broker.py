"""Apache Kafka itself, what is sent to it, and how far the group of BCS is behind."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from bench.servers import Servers
from common_core.topics import EventName, consumed_topics, dlq_topic_name, topic_name
from local_stack.ports import find_free_port
from local_stack.processes import LocalServerError
from tests.support.builders import RecordedEvent
from tests.support.faults.kraft import KraftBroker
from tests.support.kafka import create_topics

GROUP = "bcs-event-consumer"
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 120.0
# As it is delivered; the tests have it shorter.
AS_DELIVERED = {"group.initial.rebalance.delay.ms": "3000"}


@contextmanager
def apache_kafka(servers: Servers, *, partitions: int) -> Iterator[Servers | None]:
    """Give the servers with Apache Kafka as their broker; None where there is no way to run it."""
    port = find_free_port()
    where = servers.directory / f"kafka-{port}"
    try:
        broker = KraftBroker(
            where, proxied_port=port, advertised_port=port, properties=AS_DELIVERED
        )
    except LocalServerError as exc:
        print(f"  not measured: {exc}", file=sys.stderr)
        yield None
        return
    try:
        broker.start()
        asyncio.run(_create_topics(broker.bootstrap_servers, partitions))
        yield replace(servers, kafka=broker.bootstrap_servers)
    finally:
        broker.remove()


async def _create_topics(kafka: str, partitions: int) -> None:
    names = consumed_topics()
    await create_topics(kafka, *names, partitions=partitions)
    others = (*map(dlq_topic_name, names), topic_name(EventName.PHASE_SKIPPED))
    await create_topics(kafka, *others)


class Onlooker:
    """Sees how far the group is behind, and who is in it, without being in it."""

    def __init__(self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> None:
        self._admin = admin
        self._consumer = consumer
        self._partitions: list[TopicPartition] = []

    async def count_uncommitted(self) -> int:
        """Return how many records, and marks of transactions, the group has not committed."""
        if not self._partitions:
            described = await self._admin.describe_topics(list(consumed_topics()))
            self._partitions = [
                TopicPartition(topic["topic"], partition["partition"])
                for topic in described
                for partition in topic["partitions"]
            ]
        ends = await self._consumer.end_offsets(self._partitions)
        committed = await self._admin.list_consumer_group_offsets(GROUP)
        return sum(
            end - max(0, committed[tp].offset if tp in committed else 0) for tp, end in ends.items()
        )

    async def wait_until_current(self) -> None:
        """Return when the group has committed everything."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await _until(self._is_current)

    async def wait_for_members(self, count: int) -> None:
        """Return when so many share the partitions, and none comes or goes."""
        async with asyncio.timeout(PATIENCE_SECONDS):

            async def are_settled() -> bool:
                return await self._settled_members() == count

            await _until(are_settled)

    async def _is_current(self) -> bool:
        try:
            return not await self.count_uncommitted()
        except KafkaError:
            return False

    async def _settled_members(self) -> int | None:
        [description] = await self._admin.describe_consumer_groups([GROUP])
        [(_, _, state, _, _, members)] = description.groups
        return len(members) if state == "Stable" else None


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    is_over = False
    while not is_over:
        await asyncio.sleep(LOOK_SECONDS)
        is_over = await is_so()


@asynccontextmanager
async def onlooker(kafka: str) -> AsyncIterator[Onlooker]:
    """Give one that is connected."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    try:
        await admin.start()
        await consumer.start()
        yield Onlooker(admin, consumer)
    finally:
        await consumer.stop()
        await admin.close()


async def send_at_rate(kafka: str, events: Sequence[RecordedEvent], per_second: float) -> None:
    """Send the events one after the other, so many a second; return when all are acknowledged."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    await producer.start()
    try:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, (topic, key, value) in enumerate(events):
            await asyncio.sleep(max(0.0, began + number / per_second - loop.time()))
            _ = await producer.send(topic, value, key)
        await producer.flush()
    finally:
        await producer.stop()


async def send_hidden(kafka: str, events: Sequence[RecordedEvent]) -> AIOKafkaProducer:
    """Send the events in a transaction; once it is committed, everybody sees all of them at once.

    Returns the producer, whose `commit_transaction` and `stop` are the caller's to call.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, transactional_id=str(uuid4()), transaction_timeout_ms=120_000
    )
    await producer.start()
    await producer.begin_transaction()
    for topic, key, value in events:
        _ = await producer.send(topic, value, key)
    await producer.flush()
    return producer
