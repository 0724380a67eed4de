import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from batch_conductor_service.config import Settings
from batch_conductor_service.consuming.group_freshness import GroupFreshness
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import QueueBacklog
from batch_conductor_service.operating.progress import (
    ConsumerProgress,
    FreshnessProgress,
    QueueProgress,
)
from batch_conductor_service.providers.kafka import consumer_policy
from common_core.topics import consumed_topics
from local_stack.ports import find_free_port
from service_libs.exceptions import StoreUnavailableError
from service_libs.health import HealthMonitor
from service_libs.kafka.broker_watch import BrokerWatch, WatchPolicy
from service_libs.kafka.progress import TopicProgress
from service_libs.memory.broker import MemoryBroker
from service_libs.protocols import ClockProtocol, ProgressProtocol
from service_libs.supervisor import Supervisor
from tests.support.builders import NOON
from tests.support.consuming import ControlledQueue, ControlledRepository
from tests.support.loops import MemoryBrokerLook
from tests.support.membership import consumer_with
from tests.support.waiting import eventually


class SettableClock:
    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time


class AgeingQueue(ControlledQueue):
    """A queue whose oldest entry is as old as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.age_seconds = 0.0

    async def get_backlog(self) -> QueueBacklog:
        if self.failures:
            raise StoreUnavailableError
        return QueueBacklog(depth=1, oldest_age_seconds=self.age_seconds)


def monitor_of(progress: ProgressProtocol) -> HealthMonitor:
    metrics = Metrics(CollectorRegistry())
    return HealthMonitor([], Supervisor([], metrics), metrics, progress=[progress])


@contextlib.asynccontextmanager
async def consumer_without_a_broker(clock: ClockProtocol) -> AsyncIterator[EventConsumer]:
    settings = Settings(kafka_bootstrap_servers=f"127.0.0.1:{find_free_port()}")
    policy = consumer_policy(settings)
    consumer = consumer_with(policy, ControlledRepository(), clock=clock)
    run = asyncio.create_task(consumer.run())
    await asyncio.sleep(0.05)
    yield consumer
    consumer.stop()
    await run


async def test_a_consumer_that_finds_no_broker_for_a_while_degrades_the_service() -> None:
    async with consumer_without_a_broker(SettableClock()) as consumer:
        monitor = monitor_of(ConsumerProgress(consumer, grace_seconds=0.5))
        assert monitor.status == "healthy"

        async def is_degraded() -> bool:
            return monitor.status == "degraded"

        await eventually(is_degraded, what="the end of the grace")
        assert monitor.progress == {
            "consumer": {"state": "connecting", "since": NOON.isoformat(), "last_progress_at": None}
        }


@pytest.fixture(params=[(29, "healthy"), (31, "degraded")], ids=["29-seconds", "31-seconds"])
def passed(request: pytest.FixtureRequest) -> tuple[float, str]:
    """How many seconds something has lasted, and how the service is to be then."""
    seconds, status = request.param
    return seconds, status


def let_pass(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic
    monkeypatch.setattr("time.monotonic", lambda: now() + seconds)


async def test_thirty_seconds_without_consuming_degrade_the_service(
    passed: tuple[float, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with consumer_without_a_broker(SettableClock()) as consumer:
        monitor = monitor_of(ConsumerProgress(consumer))

        let_pass(passed[0], monkeypatch)

        assert monitor.status == passed[1]


async def test_thirty_seconds_without_a_topic_degrade_the_service(
    passed: tuple[float, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    look = MemoryBrokerLook(MemoryBroker(), "group", SettableClock())
    metrics = Metrics(CollectorRegistry())
    policy = WatchPolicy(topics=consumed_topics())
    watch = BrokerWatch(look, metrics, SettableClock(), policy, lambda _: None)
    monitor = monitor_of(TopicProgress(watch))
    await watch.look_once()

    let_pass(passed[0], monkeypatch)

    assert monitor.status == passed[1]
    absent = [f"The topic {topic} does not exist." for topic in sorted(consumed_topics())]
    assert monitor.causes == (absent if passed[1] == "degraded" else [])


async def test_thirty_seconds_in_which_nobody_knows_degrade_the_service(
    passed: tuple[float, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    freshness = GroupFreshness(SettableClock(), max_staleness_seconds=30)
    monitor = monitor_of(FreshnessProgress(freshness))

    let_pass(passed[0], monkeypatch)

    assert monitor.status == passed[1]


async def test_a_clock_that_jumps_makes_no_consumer_late() -> None:
    clock = SettableClock()
    async with consumer_without_a_broker(clock) as consumer:
        monitor = monitor_of(ConsumerProgress(consumer))

        clock.time += timedelta(hours=1)

        assert monitor.status == "healthy"


@pytest.mark.parametrize(("age_seconds", "status"), [(299, "healthy"), (301, "degraded")])
async def test_a_change_that_waits_for_minutes_degrades_the_service(
    age_seconds: float, status: str
) -> None:
    queue = AgeingQueue()
    queue.age_seconds = age_seconds
    monitor = monitor_of(QueueProgress(queue))

    await monitor.check()

    assert monitor.status == status
    assert monitor.progress["persistence_queue"]["oldest_age_seconds"] == age_seconds


async def test_a_queue_that_cannot_be_asked_is_as_it_was() -> None:
    queue = AgeingQueue()
    queue.age_seconds = 301
    monitor = monitor_of(QueueProgress(queue))
    await monitor.check()
    queue.failures = 1

    await monitor.check()

    assert monitor.status == "degraded"
