"""The consumer over a broker in memory, and everything around it that a test controls.

The repository applies what real ones apply; that Postgres holds it is said by the test.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry

from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.protocols import PersistenceQueueProtocol
from common_core.records import Partition
from common_core.topics import EventName, consumed_topics, topic_name
from service_libs.clock import SystemClock
from service_libs.memory.broker import MemoryBroker
from service_libs.memory.record_source import MemoryRecordSource
from service_libs.protocols import BackgroundTaskProtocol, OnRevoked
from tests.support.builders import RecordedEvent, spellchecked
from tests.support.consuming import ControlledDlq, ControlledQueue, ControlledRepository
from tests.support.membership import consumer_with
from tests.support.replaying import MemoryReplayRequests

SPELLCHECK = topic_name(EventName.SPELLCHECK_PHASE_COMPLETED)
PLACE: Partition = (SPELLCHECK, 0)
PARTITIONS = 2
INTERVAL_SECONDS = 0.004
LOOK_SECONDS = 0.001
WAIT_SECONDS = 5


def quick_policy() -> ConsumerPolicy:
    """Return a policy with which nothing takes longer than a few hundredths of a second."""
    return ConsumerPolicy(
        bootstrap_servers="",
        group_id="group",
        commit_interval_seconds=INTERVAL_SECONDS,
        fetch_wait_seconds=INTERVAL_SECONDS / 2,
        drain_timeout_seconds=0.03,
        drain_look_seconds=0.002,
        close_timeout_seconds=0.02,
        max_backoff_seconds=0.004,
        request_timeout_seconds=0.01,
        session_timeout_seconds=0.015,
        rebalance_timeout_seconds=0.06,
        stuck_timeout_seconds=1,
    )


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
        for topic in consumed_topics():
            self.broker.create_topic(topic, PARTITIONS)

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
        source = MemoryRecordSource(
            self.broker, self.policy, consumed_topics(), on_revoked, SystemClock()
        )
        self.sources.append(source)
        return source

    def produce(
        self,
        *events: RecordedEvent,
        partition: int | None = 0,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Append the events in order."""
        for event in events:
            self.broker.append(
                event.topic,
                event.value,
                event.key,
                headers=headers,
                partition=partition,
                timestamp_ms=event.timestamp_ms,
            )

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
