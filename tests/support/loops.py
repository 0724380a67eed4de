"""The consumer over a broker in memory, and everything around it that a test controls.

The repository applies what real ones apply; that Postgres holds it is said by the test.
"""

import asyncio
import contextlib
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import replace
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.protocols import PersistenceQueueProtocol
from common_core.records import Partition, PartitionLag, TopicLook
from common_core.topics import EventName, consumed_topics, topic_name
from service_libs.kafka.policy import SourcePolicy
from service_libs.memory.broker import MemoryBroker
from service_libs.memory.record_source import MemoryRecordSource
from service_libs.protocols import BackgroundTaskProtocol, ClockProtocol, OnRevoked
from service_libs.timing import SystemClock
from tests.support.builders import RecordedEvent, spellchecked
from tests.support.consuming import ControlledDlq, ControlledQueue, ControlledRepository
from tests.support.membership import consumer_with
from tests.support.replaying import MemoryReplayRequests

SPELLCHECK = topic_name(EventName.SPELLCHECK_PHASE_COMPLETED)
PLACE: Partition = (SPELLCHECK, 0)
PARTITIONS = 2
INTERVAL_SECONDS = 0.004
LOOK_SECONDS = 0.001
WAIT_SECONDS = 30  # which nothing comes near, unless it fails


def quick_policy() -> ConsumerPolicy:
    """Return a policy with which nothing takes longer than a few hundredths of a second."""
    return ConsumerPolicy(
        bootstrap_servers="",
        group_id="group",
        commit_interval_seconds=INTERVAL_SECONDS,
        fetch_wait_seconds=INTERVAL_SECONDS / 2,
        drain_timeout_seconds=0.02,
        drain_look_seconds=0.002,
        close_timeout_seconds=0.02,
        max_backoff_seconds=0.004,
        request_timeout_seconds=0.01,
        session_timeout_seconds=0.015,
        rebalance_timeout_seconds=0.1,
        stuck_timeout_seconds=1,
    )


def memory_connect(
    broker: MemoryBroker, policy: SourcePolicy
) -> Callable[[OnRevoked], MemoryRecordSource]:
    """Return what makes sources of all that is consumed."""
    return lambda on_revoked: MemoryRecordSource(
        broker, policy, consumed_topics(), on_revoked, SystemClock()
    )


def create_consumed_topics(broker: MemoryBroker) -> None:
    """Create every topic that is consumed."""
    for topic in consumed_topics():
        broker.create_topic(topic, PARTITIONS)


def produce(
    broker: MemoryBroker,
    events: Iterable[RecordedEvent],
    *,
    partition: int | None = None,
    headers: Sequence[tuple[str, bytes]] = (),
) -> None:
    """Append the events in order."""
    for event in events:
        broker.append(
            event.topic,
            event.value,
            event.key,
            headers=headers,
            partition=partition,
            timestamp_ms=event.timestamp_ms,
        )


class MemoryBrokerLook:
    """`BrokerLookProtocol` of a broker in memory."""

    def __init__(self, broker: MemoryBroker, group_id: str, clock: ClockProtocol) -> None:
        self._broker = broker
        self._group = broker.group(group_id)
        self._clock = clock

    async def look_at_topics(self, topics: Sequence[str]) -> TopicLook:
        asked_at = self._clock.now()
        await self._broker.answer(1)
        partitions = frozenset(self._broker.logs)
        missing = frozenset(topics) - {topic for topic, _ in partitions}
        return TopicLook(asked_at=asked_at, partitions=partitions, missing=missing)

    async def measure_lag(
        self, partitions: Collection[Partition]
    ) -> Mapping[Partition, PartitionLag]:
        await self._broker.answer(1)
        return {partition: self._lag(partition) for partition in partitions}

    async def close(self) -> None:
        """There is nothing to close."""

    def _lag(self, partition: Partition) -> PartitionLag:
        log = self._broker.logs[partition]
        committed = self._group.committed.get(partition, log.first)
        record = log.entries.get(committed)
        oldest = datetime.fromtimestamp(record.timestamp / 1000, UTC) if record else None
        return PartitionLag(records=log.end - committed, oldest_at=oldest)


class Bench:
    """A broker with the topics, and everything around a consumer."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.queue = ControlledQueue()
        self.repository = ControlledRepository(self.queue)
        self.dlq = ControlledDlq()
        self.requests = MemoryReplayRequests()
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.policy = quick_policy()
        self.sources: list[MemoryRecordSource] = []  # every one that was made, in that order
        create_consumed_topics(self.broker)

    def be_patient(self) -> None:
        """Have draining last as long as it takes."""
        self.policy = replace(
            self.policy,
            drain_timeout_seconds=WAIT_SECONDS,
            rebalance_timeout_seconds=3 * WAIT_SECONDS,
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
            requests=self.requests,
            connect=self.connect,
        )

    def consumer_without_queue(self) -> EventConsumer:
        """Return one whose effects are durable once applied."""
        self.repository = ControlledRepository()
        return consumer_with(
            self.policy,
            self.repository,
            dlq=self.dlq,
            metrics=self.metrics,
            connect=self.connect,
        )

    def connect(self, on_revoked: OnRevoked) -> MemoryRecordSource:
        """Make a source, and remember it."""
        source = memory_connect(self.broker, self.policy)(on_revoked)
        self.sources.append(source)
        return source

    def produce(
        self,
        *events: RecordedEvent,
        partition: int | None = 0,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Append the events in order."""
        produce(self.broker, events, partition=partition, headers=headers)

    def produce_essays(self, first: int, last: int, *, partition: int | None = 0) -> None:
        """Append one event for each essay of a batch."""
        essays = (spellchecked("b1", f"e{n}") for n in range(first, last + 1))
        self.produce(*essays, partition=partition)

    @property
    def committed(self) -> Mapping[Partition, int]:
        """What the group has committed."""
        return self.broker.group(self.policy.group_id).committed

    @property
    def read(self) -> list[int]:
        """The offsets that were applied, in order."""
        return [position.offset for position in self.repository.applied]

    async def until_applied(self, count: int) -> None:
        """Return when so many records were applied, those that were applied again among them."""
        await until(lambda: len(self.repository.applied) >= count)

    async def until_committed(self, offset: int) -> None:
        """Return when that is committed of the first partition."""
        await until(lambda: self.committed.get(PLACE, 0) == offset)

    async def pass_intervals(self, count: int) -> None:
        """Have so many looks at what Postgres holds pass by."""
        await asyncio.sleep(count * INTERVAL_SECONDS)

    async def rebalance(self) -> None:
        """Share the partitions out again; return when the latest source has given its own up."""
        source, before = self.sources[-1], self.sources[-1].assignment
        self.broker.group(self.policy.group_id).rebalance()
        await until(lambda: source.assignment > before)

    def count(self, name: str, **labels: str) -> float:
        """Return the value of a counter."""
        return self.registry.get_sample_value(name, labels) or 0

    def count_events(self, outcome: str) -> float:
        """Return how many events had this outcome."""
        event = EventName.SPELLCHECK_PHASE_COMPLETED.value
        return self.count("bcs_events_processed_total", event_type=event, outcome=outcome)


def garbage(number: int) -> RecordedEvent:
    """Return a record that is no event."""
    return RecordedEvent(SPELLCHECK, b"key", b"\xff garbage %d" % number)


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
