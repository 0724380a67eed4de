"""Whether a consumer that runs also gets on, and has its topics, in sentences for people."""

from collections.abc import Mapping, Sequence

from service_libs.kafka.broker_watch import BrokerWatch
from service_libs.kafka.condition import ConsumerCondition, ConsumerState
from service_libs.kafka.consumer import PollConsumer

CONSUMER_GRACE_SECONDS = 30  # longer than a rebalance, or than a broker that starts again

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

    One that has no partitions, because the group has more members than those, stands by, which is
    no fault.
    """

    name = "consumer"

    def __init__(
        self, consumer: PollConsumer, *, grace_seconds: float = CONSUMER_GRACE_SECONDS
    ) -> None:
        self._consumer = consumer
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
        return []

    def describe(self) -> Mapping[str, str | float | None]:
        condition = self._consumer.condition
        at = condition.last_progress_at
        return {
            "state": condition.state.value,
            "since": condition.since.isoformat(),
            "last_progress_at": at.isoformat() if at else None,
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


def _cause(condition: ConsumerCondition) -> str:
    """Say what keeps the consumer from consuming; a trouble, where there was one, says it best."""
    if condition.trouble is None or condition.state is ConsumerState.PAUSED:
        return _CAUSES[condition.state]
    return f"{_CAUSES[condition.state]} {condition.trouble}"
