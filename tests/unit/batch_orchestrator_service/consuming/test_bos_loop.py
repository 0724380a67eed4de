"""The orchestrator's loop over a broker in memory: what is committed has been handled."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from batch_orchestrator_service.consuming.handling import PollHandler
from batch_orchestrator_service.events.decoding import consumed_topics
from batch_orchestrator_service.kafka_consumer import EventConsumer
from batch_orchestrator_service.protocols import AuditEntry
from common_core.topics import EventName, topic_name
from service_libs.exceptions import HaltError, StoreUnavailableError
from service_libs.kafka.condition import ConditionRecorder, ConsumerState
from service_libs.kafka.consumer import LoopPolicy
from service_libs.kafka.policy import DeadLetterLimit
from service_libs.memory.broker import MemoryBroker
from service_libs.memory.record_source import MemoryRecordSource
from service_libs.protocols import OnRevoked
from service_libs.timing import SystemClock
from tests.support.bos import Orchestra
from tests.support.consuming import ControlledDlq
from tests.support.loops import until
from tests.support.orchestrating import named
from tests.support.replaying import MemoryReplayRequests

TOPIC = topic_name(EventName.CLIENT_BATCH_PIPELINE_REQUEST)
PLACE = (TOPIC, 0)


class Loop:
    """A consumer over a broker in memory, with a store in memory."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        for topic in consumed_topics():
            self.broker.create_topic(topic)
        self.one = Orchestra()
        self.dlq = ControlledDlq()
        self.replays = MemoryReplayRequests()
        self.condition = ConditionRecorder(SystemClock())
        self.sources: list[MemoryRecordSource] = []
        self.policy = LoopPolicy(
            bootstrap_servers="",
            group_id="group",
            client_id="test",
            commit_interval_seconds=0.004,
            fetch_wait_seconds=0.002,
            request_timeout_seconds=0.01,
            session_timeout_seconds=0.015,
            rebalance_timeout_seconds=0.2,
            max_backoff_seconds=0.01,
            drain_timeout_seconds=0.2,
            close_timeout_seconds=0.2,
        )

    def consumer(self) -> EventConsumer:
        """Return a member of the group."""
        handler = PollHandler(
            self.one.requests,
            self.one.facts,
            self.dlq,
            self.one.metrics,
            group_id="group",
            limit=DeadLetterLimit(min_invalid_records=3),
        )
        return EventConsumer(self.policy, self._connect, handler, self.condition, self.replays)

    def request(self, name: str) -> None:
        """Have a client ask for a pipeline."""
        data = {
            "batch_id": "batch-1",
            "requested_pipeline": name,
            "client_correlation_id": str(named(name)),
            "user_id": "teacher",
            "request_id": str(named(name)),
        }
        envelope = {
            "event_id": str(named(name)),
            "event_type": TOPIC,
            "event_timestamp": "2026-01-31T12:00:00Z",
            "correlation_id": str(named(name)),
            "data": data,
        }
        self.broker.append(TOPIC, json.dumps(envelope).encode(), b"batch-1", partition=0)

    @property
    def committed(self) -> int:
        """The offset that is committed."""
        return self.broker.group("group").committed.get(PLACE, 0)

    @property
    def pipelines(self) -> list[str]:
        """The pipelines of the runs that are known."""
        state = self.one.runs.states.get("batch-1")
        return [run.pipeline for run in state.runs] if state else []

    def _connect(self, on_revoked: OnRevoked) -> MemoryRecordSource:
        source = MemoryRecordSource(
            self.broker, self.policy, consumed_topics(), on_revoked, SystemClock()
        )
        self.sources.append(source)
        return source


@asynccontextmanager
async def running(consumer: EventConsumer) -> AsyncIterator[None]:
    """Run the consumer, and stop it at the end."""
    task = asyncio.create_task(consumer.run())
    try:
        yield
    finally:
        consumer.stop()
        await asyncio.wait_for(task, 10)


async def test_what_is_handled_is_committed() -> None:
    loop = Loop()
    loop.request("nlp")
    loop.request("cj_assessment")

    async with running(loop.consumer()):
        await until(lambda: loop.committed == 2)

    assert loop.pipelines == ["nlp", "cj_assessment"]
    assert loop.condition.current.state is ConsumerState.STOPPED


async def test_what_a_person_asks_for_is_read_again_once_and_does_nothing_twice() -> None:
    loop = Loop()
    loop.request("nlp")
    loop.request("cj_assessment")

    async with running(loop.consumer()):
        await until(lambda: loop.committed == 2)
        loop.replays.failures = 2  # then it is settled at a later look, and rewound no more for it
        await loop.replays.submit({PLACE: 1})
        await until(lambda: not loop.replays.waiting)
        await until(lambda: loop.committed == 2)
        loop.request("ai_feedback")
        await until(lambda: loop.committed == 3)

    assert loop.pipelines == ["nlp", "cj_assessment", "ai_feedback"]
    decisions = [
        entry.decision.value for entry in loop.one.runs.audit if isinstance(entry, AuditEntry)
    ]
    assert decisions == ["new_run", "new_run", "same_request", "new_run"]


async def test_a_store_that_is_away_is_waited_for_and_nothing_is_passed_over() -> None:
    loop = Loop()
    is_away = True
    lock = loop.one.store.lock

    @asynccontextmanager
    async def fail(batch_id: str) -> AsyncIterator[object]:
        if is_away:
            raise StoreUnavailableError
        async with lock(batch_id) as batch:
            yield batch

    loop.one.store.lock = fail  # type: ignore[assignment, method-assign] # the store is away
    loop.request("nlp")

    async with running(loop.consumer()):
        await until(lambda: loop.condition.current.state is ConsumerState.WAITING)
        loop.request("cj_assessment")
        assert loop.committed == 0
        is_away = False
        await until(lambda: loop.committed == 2)

    assert loop.pipelines == ["nlp", "cj_assessment"]
    assert loop.dlq.letters == []


async def test_a_poll_that_waits_is_abandoned_at_the_stop_and_read_again() -> None:
    loop = Loop()
    lock = loop.one.store.lock

    @asynccontextmanager
    async def fail(_batch_id: str) -> AsyncIterator[object]:
        raise StoreUnavailableError
        yield

    loop.one.store.lock = fail  # type: ignore[assignment, method-assign] # the store is away
    loop.request("nlp")
    async with running(loop.consumer()):
        await until(lambda: loop.condition.current.state is ConsumerState.WAITING)
    assert loop.committed == 0

    loop.one.store.lock = lock  # type: ignore[method-assign] # it is back
    async with running(loop.consumer()):
        await until(lambda: loop.committed == 1)

    assert loop.pipelines == ["nlp"]


async def test_a_broker_that_was_away_is_read_on_from_where_the_group_stood() -> None:
    loop = Loop()
    async with running(loop.consumer()):
        await until(lambda: bool(loop.sources) and loop.sources[-1].has_partitions)
        loop.request("nlp")
        await until(lambda: loop.committed == 1)
        loop.broker.is_available = False
        loop.request("cj_assessment")
        await asyncio.sleep(0.05)
        assert loop.committed == 1
        loop.broker.is_available = True
        await until(lambda: loop.committed == 2)

    assert loop.pipelines == ["nlp", "cj_assessment"]


async def test_a_flood_of_what_is_invalid_halts() -> None:
    loop = Loop()
    for _ in range(4):
        loop.broker.append(TOPIC, b"{", b"batch-1", partition=0)

    with pytest.raises(HaltError):
        await loop.consumer().run()

    assert loop.condition.current.state is ConsumerState.HALTED
    assert (loop.committed, loop.dlq.letters) == (0, [])


async def test_what_is_invalid_is_dead_lettered_and_passed() -> None:
    loop = Loop()
    loop.broker.append(TOPIC, b"{", b"batch-1", partition=0)
    loop.request("nlp")

    async with running(loop.consumer()):
        await until(lambda: loop.committed == 2)

    assert [letter.reason for letter in loop.dlq.letters] == ["not_json"]
    assert loop.pipelines == ["nlp"]


async def test_a_source_that_reads_nothing_though_there_is_something_is_made_anew() -> None:
    loop = Loop()
    loop.policy = replace(loop.policy, stuck_timeout_seconds=0.05)
    async with running(loop.consumer()):
        await until(lambda: bool(loop.sources) and loop.sources[-1].has_partitions)
        loop.sources[-1].stall()
        loop.request("nlp")
        await until(lambda: loop.committed == 1)

    assert len(loop.sources) > 1
