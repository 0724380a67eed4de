"""The consumer group, seen from outside: by a client that never joins it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, KafkaError

from common_core.records import Partition
from service_libs.exceptions import BrokerUnavailableError
from service_libs.kafka.records import GroupPosition


class KafkaConsumerGroup:
    """`ConsumerGroupProtocol`; connects for each call, since a person asks."""

    def __init__(
        self, bootstrap_servers: str, group_id: str, *, request_timeout_seconds: float
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._group_id = group_id
        self._timeout_seconds = request_timeout_seconds

    async def list_partitions(self, topics: Sequence[str]) -> list[Partition]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers)
        try:
            async with self._bounded():
                await admin.start()
                described = await admin.describe_topics()  # one asked for by name may be created
        finally:
            await admin.close()
        return [
            (topic["topic"], number)
            for topic in described
            if topic["topic"] in topics
            for number in sorted(partition["partition"] for partition in topic["partitions"])
        ]

    async def read_positions(
        self, partitions: Sequence[Partition]
    ) -> dict[Partition, GroupPosition]:
        if not partitions:
            return {}
        async with self._connect(partitions) as consumer:
            beginnings = await consumer.beginning_offsets(_topic_partitions(partitions))
            return {
                (tp.topic, tp.partition): GroupPosition(
                    committed=await consumer.committed(tp), beginning=beginning
                )
                for tp, beginning in beginnings.items()
            }

    async def find_offsets(
        self, partitions: Sequence[Partition], since: datetime
    ) -> dict[Partition, int]:
        if not partitions:
            return {}
        async with self._connect(partitions) as consumer:
            milliseconds = int(since.timestamp() * 1000)
            asked = dict.fromkeys(_topic_partitions(partitions), milliseconds)
            found = await consumer.offsets_for_times(asked)
        return {
            (tp.topic, tp.partition): one.offset
            for tp, one in found.items()
            if one is not None and one.timestamp >= milliseconds
        }

    async def move(self, offsets: Mapping[Partition, int]) -> bool:
        async with self._connect(list(offsets)) as consumer:
            try:
                await consumer.commit({TopicPartition(*p): offset for p, offset in offsets.items()})
            except CommitFailedError:  # the broker refuses outsiders while there are members
                return False
            return True

    @asynccontextmanager
    async def _connect(self, partitions: Sequence[Partition]) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            group_id=self._group_id,
            enable_auto_commit=False,
        )
        try:
            async with self._bounded():
                await consumer.start()
                consumer.assign(_topic_partitions(partitions))
                yield consumer
        finally:
            await consumer.stop()

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            # aiokafka repeats what is retriable for ever.
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except (TimeoutError, KafkaError) as exc:
            raise BrokerUnavailableError("Kafka cannot be reached, or does not answer.") from exc


def _topic_partitions(partitions: Sequence[Partition]) -> list[TopicPartition]:
    return [TopicPartition(*partition) for partition in partitions]
