"""Whether what was decided also reaches Kafka."""

from collections.abc import Mapping, Sequence

from batch_orchestrator_service.protocols import Backlog, OutboxProtocol
from service_libs.protocols import ClockProtocol

OUTBOX_GRACE_SECONDS = 60  # for the oldest message to be sent; longer than a broker's restart


class OutboxProgress:
    """The relay is behind when a message has waited for the broker for a minute."""

    name = "outbox"

    def __init__(self, outbox: OutboxProtocol, clock: ClockProtocol) -> None:
        self._outbox = outbox
        self._clock = clock
        self._backlog = Backlog(depth=0, oldest_age_seconds=0)

    async def refresh(self) -> None:
        self._backlog = await self._outbox.get_backlog(self._clock.now())

    @property
    def causes(self) -> Sequence[str]:
        if self._backlog.oldest_age_seconds <= OUTBOX_GRACE_SECONDS:
            return []
        return ["The oldest message has waited for Kafka for more than a minute."]

    def describe(self) -> Mapping[str, str | float | None]:
        return {
            "depth": self._backlog.depth,
            "oldest_age_seconds": self._backlog.oldest_age_seconds,
        }
