"""Looks at the broker from outside the group, whatever becomes of the consumer.

A halted, paused or waiting consumer measures nothing, and lag is what Kafka says.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from common_core.records import Partition, PartitionLag, TopicLook
from service_libs.exceptions import BrokerUnavailableError
from service_libs.kafka.patience import unless_stopped
from service_libs.metrics import ConsumingMetrics
from service_libs.protocols import BrokerLookProtocol, ClockProtocol
from service_libs.timing import until_set

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPolicy:
    """What the broker is looked at for, and how often.

    Attributes:
        topics: those that the group consumes.
        look_seconds: between looks at topics and partitions. Freshness is no newer than the last.
        measure_seconds: between measurements of the lag.
        forget_seconds: after which a measurement that cannot be repeated is unknown again.
    """

    topics: Sequence[str]
    look_seconds: float = 1
    measure_seconds: float = 5
    forget_seconds: float = 30


class BrokerWatch:
    """The background task that keeps the lag, and the knowledge of topics, current."""

    name = "broker_watch"

    def __init__(
        self,
        broker: BrokerLookProtocol,
        metrics: ConsumingMetrics,
        clock: ClockProtocol,
        policy: WatchPolicy,
        note_look: Callable[[TopicLook], None],
    ) -> None:
        self._broker = broker
        self._metrics = metrics
        self._clock = clock
        self._note_look = note_look
        self._policy = policy
        self._stopping = asyncio.Event()
        self._look: TopicLook | None = None
        self._absent_since: dict[str, float] = {}
        self._measure_due = 0.0  # monotonic seconds
        self._measured_at: dict[Partition, float] = {}
        self._shown: set[Partition] = set()
        # There from the beginning: a series that comes and goes is no warning.
        self._show({(topic, 0): None for topic in policy.topics})
        self._metrics.oldest_unread_record_age.set(math.nan)

    async def run(self) -> None:
        while not self._stopping.is_set():
            await unless_stopped(self._stopping, self.look_once())
            await until_set(self._stopping, self._policy.look_seconds)

    def stop(self) -> None:
        self._stopping.set()

    async def look_once(self) -> None:
        """Look at the topics, and when it is time, measure the lag."""
        try:
            look = await self._broker.look_at_topics(self._policy.topics)
            self._take(look)
            if time.monotonic() >= self._measure_due:
                self._measure_due = time.monotonic() + self._policy.measure_seconds
                await self._measure(look)
        except BrokerUnavailableError as exc:
            logger.debug("broker_not_looked_at", reason=str(exc))
        self._forget()

    def name_absent_topics(self) -> list[str]:
        """Return the topics that are not there, or that cannot be seen."""
        return sorted(self._absent_since)

    def name_absent(self, grace_seconds: float) -> list[str]:
        """Say of each topic that has not been there for so long why it is not read."""
        now = time.monotonic()
        refused = self._look.refused if self._look else {}
        return [
            refused.get(topic, f"The topic {topic} does not exist.")
            for topic, since in sorted(self._absent_since.items())
            if now - since > grace_seconds
        ]

    def _take(self, look: TopicLook) -> None:
        self._look = look
        self._note_look(look)
        now = time.monotonic()
        absent = look.missing | look.refused.keys()
        for topic in absent - self._absent_since.keys():
            logger.info("topic_waited_for", topic=topic)
        self._absent_since = {topic: self._absent_since.get(topic, now) for topic in absent}

    async def _measure(self, look: TopicLook) -> None:
        lags = dict(await self._broker.measure_lag(look.partitions))
        nothing = dict.fromkeys([(topic, 0) for topic in look.missing], PartitionLag(records=0))
        now = time.monotonic()
        self._measured_at |= dict.fromkeys([*lags, *nothing], now)
        self._show(lags | nothing)
        is_complete = lags.keys() == look.partitions and not look.refused
        self._metrics.oldest_unread_record_age.set(self._oldest(lags, is_complete=is_complete))

    def _oldest(self, lags: Mapping[Partition, PartitionLag], *, is_complete: bool) -> float:
        behind = [lag for lag in lags.values() if lag.records > 0]
        times = [lag.oldest_at for lag in behind if lag.oldest_at is not None]
        if times:
            return max(0.0, (self._clock.now() - min(times)).total_seconds())
        return 0 if is_complete and not behind else math.nan

    def _forget(self) -> None:
        """Show as unknown what could not be measured for a while."""
        now = time.monotonic()
        lost = [
            partition
            for partition in self._shown
            if now - self._measured_at.get(partition, -math.inf) > self._policy.forget_seconds
        ]
        self._show(dict.fromkeys(lost))
        if lost:
            self._metrics.oldest_unread_record_age.set(math.nan)

    def _show(self, lags: Mapping[Partition, PartitionLag | None]) -> None:
        for (topic, number), lag in lags.items():
            value = math.nan if lag is None else lag.records
            self._metrics.consumer_lag.labels(topic, str(number)).set(value)
        self._shown |= lags.keys()
