"""Whether what runs also gets on: the consumer, its topics, its freshness, the way to Postgres."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from batch_conductor_service.consuming.broker_watch import BrokerWatch
from batch_conductor_service.consuming.group_freshness import GroupFreshness
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.models import QueueBacklog
from batch_conductor_service.protocols import PersistenceQueueProtocol
from service_libs.kafka.condition import ConsumerCondition, ConsumerState

CONSUMER_GRACE_SECONDS = 30  # longer than a rebalance, or than a broker that starts again
QUEUE_GRACE_SECONDS = 300  # for the oldest change to reach Postgres

_CAUSES = {
    ConsumerState.STOPPED: "Nothing is consumed: the consumer does not run.",
    ConsumerState.CONNECTING: "Nothing is consumed: no connection to Kafka.",
    ConsumerState.JOINING: "Nothing is consumed: the consumer group gives no partitions out.",
    ConsumerState.CONSUMING: "The connection to Kafka is lost again and again.",
    ConsumerState.STANDBY: "The connection to Kafka is lost again and again.",
    ConsumerState.WAITING: "Nothing is consumed: a store or the dead letters cannot be reached.",
    ConsumerState.PAUSED: "Nothing is consumed: too many changes wait for Postgres.",
    ConsumerState.HALTED: "Consumption has halted, and a person has to look.",
}


class ConsumerProgress:
    """The consumer is behind when it has not consumed for a while: it waits, or is paused.

    One that has no partitions, because the group has more members than those, stands by. That is no
    fault as long as the others read everything; whether they do, the freshness says.
    """

    name = "consumer"

    def __init__(
        self,
        consumer: EventConsumer,
        freshness: GroupFreshness | None = None,
        *,
        grace_seconds: float = CONSUMER_GRACE_SECONDS,
    ) -> None:
        self._consumer = consumer
        self._freshness = freshness
        self._grace_seconds = grace_seconds

    async def refresh(self) -> None:
        """The condition is always current."""

    @property
    def causes(self) -> Sequence[str]:
        condition = self._consumer.condition
        if condition.state is ConsumerState.HALTED:
            return [f"{_CAUSES[condition.state]} {condition.trouble or ''}".rstrip()]
        if condition.unwell_seconds > self._grace_seconds:
            return [_cause(condition)]
        is_idle = condition.state is ConsumerState.STANDBY
        is_stale = self._freshness and self._freshness.behind_seconds > self._grace_seconds
        if is_idle and is_stale and condition.age_seconds > self._grace_seconds:
            return ["No partitions are assigned to this replica, and nobody reads all of them."]
        return []

    def describe(self) -> Mapping[str, str | float | None]:
        condition = self._consumer.condition
        return {
            "state": condition.state.value,
            "since": _text(condition.since),
            "last_progress_at": _text(condition.last_progress_at),
        }


class TopicProgress:
    """The service is deaf to a topic that does not exist, or that it may not see."""

    name = "topics"

    def __init__(
        self, watch: BrokerWatch, *, grace_seconds: float = CONSUMER_GRACE_SECONDS
    ) -> None:
        self._watch = watch
        self._grace_seconds = grace_seconds

    async def refresh(self) -> None:
        """The watch looks by itself."""

    @property
    def causes(self) -> Sequence[str]:
        return self._watch.name_absent(self._grace_seconds)

    def describe(self) -> Mapping[str, str | float | None]:
        return {"absent": ", ".join(self._watch.name_absent_topics()) or None}


class FreshnessProgress:
    """The service prunes nothing when what it knows is out of date: it answers, but at a price."""

    name = "freshness"

    def __init__(
        self, freshness: GroupFreshness, *, grace_seconds: float = CONSUMER_GRACE_SECONDS
    ) -> None:
        self._freshness = freshness
        self._grace_seconds = grace_seconds

    async def refresh(self) -> None:
        """It is always current."""

    @property
    def causes(self) -> Sequence[str]:
        if self._freshness.behind_seconds <= self._grace_seconds:
            return []
        return [f"Nothing is pruned: {self._freshness.name_behind()}."]

    def describe(self) -> Mapping[str, str | float | None]:
        return {"known_until": _text(self._freshness.current().applied_until)}


class QueueProgress:
    """The worker is behind when a change has waited for Postgres for minutes."""

    name = "persistence_queue"

    def __init__(self, queue: PersistenceQueueProtocol) -> None:
        self._queue = queue
        self._backlog = QueueBacklog(depth=0, oldest_age_seconds=0)

    async def refresh(self) -> None:
        self._backlog = await self._queue.get_backlog()

    @property
    def causes(self) -> Sequence[str]:
        if self._backlog.oldest_age_seconds <= QUEUE_GRACE_SECONDS:
            return []
        return ["The oldest change has waited for Postgres for minutes."]

    def describe(self) -> Mapping[str, str | float | None]:
        return {
            "depth": self._backlog.depth,
            "oldest_age_seconds": self._backlog.oldest_age_seconds,
        }


def _cause(condition: ConsumerCondition) -> str:
    """Say what keeps the consumer from consuming; a trouble, where there was one, says it best."""
    if condition.trouble is None or condition.state is ConsumerState.PAUSED:
        return _CAUSES[condition.state]
    return f"{_CAUSES[condition.state]} {condition.trouble}"


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
