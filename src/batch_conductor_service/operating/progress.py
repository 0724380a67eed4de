"""Whether what runs also gets on: the consumer, its freshness, the way to Postgres."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from batch_conductor_service.consuming.group_freshness import GroupFreshness
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.models import QueueBacklog
from batch_conductor_service.protocols import PersistenceQueueProtocol
from service_libs.kafka import progress
from service_libs.kafka.condition import ConsumerState
from service_libs.kafka.progress import CONSUMER_GRACE_SECONDS

QUEUE_GRACE_SECONDS = 300  # for the oldest change to reach Postgres


class ConsumerProgress(progress.ConsumerProgress):
    """As every consumer's; one that stands by is a fault where nobody reads all partitions.

    Whether others read them, the freshness says.
    """

    def __init__(
        self,
        consumer: EventConsumer,
        freshness: GroupFreshness | None = None,
        *,
        grace_seconds: float = CONSUMER_GRACE_SECONDS,
    ) -> None:
        super().__init__(consumer, grace_seconds=grace_seconds)
        self._freshness = freshness

    @property
    def causes(self) -> Sequence[str]:
        if causes := super().causes:
            return causes
        condition = self._consumer.condition
        is_idle = condition.state is ConsumerState.STANDBY
        is_stale = self._freshness and self._freshness.behind_seconds > self._grace_seconds
        if is_idle and is_stale and condition.age_seconds > self._grace_seconds:
            return ["No partitions are assigned to this replica, and nobody reads all of them."]
        return []


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


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
