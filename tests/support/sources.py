"""A topic and a group, at a broker and in memory, for tests of whatever reads them."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from aiokafka import AIOKafkaProducer

from local_stack.ports import find_free_port
from service_libs.kafka.policy import SourcePolicy
from service_libs.kafka.record_source import KafkaRecordSource
from service_libs.kafka.records import ConsumedRecord
from service_libs.memory.broker import MemoryBroker
from service_libs.memory.record_source import MemoryRecordSource
from service_libs.protocols import OnRevoked, RecordSourceProtocol
from service_libs.timing import SystemClock
from tests.support.kafka import create_topics, unique

PARTITIONS = 2
LONG_SESSION_SECONDS = 60.0


class Sources(Protocol):
    """Makes members of one group that reads the topic, and what else is in `topics`."""

    topics: list[str]
    topic: str
    later_topic: str
    interval_seconds: float
    max_poll_records: int

    def source(self, on_revoked: OnRevoked) -> RecordSourceProtocol:
        """Return one that has not joined yet."""
        ...

    def source_at(self, seat: str, on_revoked: OnRevoked) -> RecordSourceProtocol:
        """Return one at a seat, whose session is longer than any test."""
        ...

    def source_of_nobody(self, on_revoked: OnRevoked) -> RecordSourceProtocol:
        """Return one whose broker is away."""
        ...

    async def create_topic(self) -> None:
        """Create the topic."""
        ...

    async def create_later_topic(self) -> None:
        """Create the other one."""
        ...

    async def append(self, *records: ConsumedRecord) -> None:
        """Append the records as they are, but for their offset."""
        ...

    async def append_numbers(self, partition: int, numbers: Iterable[int]) -> None:
        """Append the numbers as text to the topic's partition."""
        ...


def _policy(servers: str, *, session_timeout_seconds: float) -> SourcePolicy:
    return SourcePolicy(
        bootstrap_servers=servers,
        group_id=unique("group"),
        client_id="test",
        max_poll_records=10,
        commit_interval_seconds=session_timeout_seconds / 30,
        fetch_wait_seconds=session_timeout_seconds / 60,
        drain_timeout_seconds=1,
        metadata_max_age_seconds=1,
        request_timeout_seconds=3,
        session_timeout_seconds=session_timeout_seconds,
    )


class _Written:
    """What both have: names, and records of numbers."""

    def __init__(self, policy: SourcePolicy) -> None:
        self.policy = policy
        self.topic, self.later_topic = unique("a"), unique("later")
        self.topics = [self.topic]
        self.interval_seconds = policy.commit_interval_seconds
        self.max_poll_records = policy.max_poll_records

    def seated(self, seat: str) -> SourcePolicy:
        """Return the policy of a member at a seat that nobody may have to wait for."""
        return replace(
            self.policy,
            seat=seat,
            session_timeout_seconds=LONG_SESSION_SECONDS,
            rebalance_timeout_seconds=LONG_SESSION_SECONDS,
        )

    async def append(self, *records: ConsumedRecord) -> None:
        raise NotImplementedError

    async def append_numbers(self, partition: int, numbers: Iterable[int]) -> None:
        place = (self.topic, partition)
        await self.append(*(ConsumedRecord(*place, 0, 1, None, b"%d" % n) for n in numbers))


class MemorySources(_Written):
    """In memory."""

    def __init__(self) -> None:
        super().__init__(_policy("", session_timeout_seconds=0.06))
        self.broker = MemoryBroker()

    def source(self, on_revoked: OnRevoked) -> MemoryRecordSource:
        return self._source(self.broker, on_revoked)

    def source_at(self, seat: str, on_revoked: OnRevoked) -> MemoryRecordSource:
        return self._source(self.broker, on_revoked, self.seated(seat))

    def source_of_nobody(self, on_revoked: OnRevoked) -> MemoryRecordSource:
        broker = MemoryBroker()
        broker.is_available = False
        return self._source(broker, on_revoked)

    def _source(
        self, broker: MemoryBroker, on_revoked: OnRevoked, policy: SourcePolicy | None = None
    ) -> MemoryRecordSource:
        chosen = policy or self.policy
        return MemoryRecordSource(broker, chosen, self.topics, on_revoked, SystemClock())

    def quick_to_give_up(self) -> SourcePolicy:
        """Return the policy with short waits for the broker and for other members."""
        return replace(self.policy, request_timeout_seconds=0.01, rebalance_timeout_seconds=0.02)

    async def create_topic(self) -> None:
        self.broker.create_topic(self.topic, PARTITIONS)

    async def create_later_topic(self) -> None:
        self.broker.create_topic(self.later_topic)

    async def append(self, *records: ConsumedRecord) -> None:
        for one in records:
            self.broker.append(
                one.topic,
                one.value,
                one.key,
                headers=one.headers,
                partition=one.partition,
                timestamp_ms=one.timestamp,
            )


class KafkaSources(_Written):
    """At a broker."""

    def __init__(self, servers: str) -> None:
        super().__init__(_policy(servers, session_timeout_seconds=2))

    def source(self, on_revoked: OnRevoked) -> KafkaRecordSource:
        return self._source(self.policy, on_revoked)

    def source_at(self, seat: str, on_revoked: OnRevoked) -> KafkaRecordSource:
        return self._source(self.seated(seat), on_revoked)

    def source_of_nobody(self, on_revoked: OnRevoked) -> KafkaRecordSource:
        nobody = f"127.0.0.1:{find_free_port()}"
        return self._source(replace(self.policy, bootstrap_servers=nobody), on_revoked)

    def _source(self, policy: SourcePolicy, on_revoked: OnRevoked) -> KafkaRecordSource:
        return KafkaRecordSource(policy, self.topics, on_revoked, SystemClock())

    async def create_topic(self) -> None:
        await create_topics(self.policy.bootstrap_servers, self.topic, partitions=PARTITIONS)

    async def create_later_topic(self) -> None:
        await create_topics(self.policy.bootstrap_servers, self.later_topic)

    async def append(self, *records: ConsumedRecord) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.policy.bootstrap_servers)
        await producer.start()
        try:
            for one in records:
                await producer.send_and_wait(
                    one.topic,
                    one.value,
                    one.key,
                    partition=one.partition,
                    timestamp_ms=one.timestamp,
                    headers=list(one.headers),
                )
        finally:
            await producer.stop()
