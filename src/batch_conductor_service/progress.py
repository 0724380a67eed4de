"""Whether what runs also gets on: the consumer, and the way to Postgres."""

from collections.abc import Mapping
from datetime import datetime

from batch_conductor_service.consuming.condition import ConsumerState
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.port_values import QueueBacklog
from batch_conductor_service.protocols import PersistenceQueueProtocol

CONSUMER_GRACE_SECONDS = 30  # longer than a rebalance, or than a broker that starts again
QUEUE_GRACE_SECONDS = 300  # for the oldest change to reach Postgres


class ConsumerProgress:
    """The consumer is behind when it has not consumed for a while: it waits, or is paused."""

    name = "consumer"

    def __init__(
        self, consumer: EventConsumer, *, grace_seconds: float = CONSUMER_GRACE_SECONDS
    ) -> None:
        self._consumer = consumer
        self._grace_seconds = grace_seconds

    async def refresh(self) -> None:
        """The condition is always current."""

    @property
    def is_behind(self) -> bool:
        condition = self._consumer.condition
        is_consuming = condition.state is ConsumerState.CONSUMING
        return not is_consuming and condition.age_seconds > self._grace_seconds

    def describe(self) -> Mapping[str, str | float | None]:
        condition = self._consumer.condition
        return {
            "state": condition.state.value,
            "since": _text(condition.since),
            "last_progress_at": _text(condition.last_progress_at),
        }


class QueueProgress:
    """The worker is behind when a change has waited for Postgres for minutes."""

    name = "persistence_queue"

    def __init__(self, queue: PersistenceQueueProtocol) -> None:
        self._queue = queue
        self._backlog = QueueBacklog(depth=0, oldest_age_seconds=0)

    async def refresh(self) -> None:
        self._backlog = await self._queue.get_backlog()

    @property
    def is_behind(self) -> bool:
        return self._backlog.oldest_age_seconds > QUEUE_GRACE_SECONDS

    def describe(self) -> Mapping[str, str | float | None]:
        return {
            "depth": self._backlog.depth,
            "oldest_age_seconds": self._backlog.oldest_age_seconds,
        }


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
