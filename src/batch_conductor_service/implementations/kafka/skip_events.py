"""Skip events as Kafka messages."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog

from batch_conductor_service.domain.resolution import SkippedPhase
from batch_conductor_service.events.phase_skipped import encode_phase_skipped
from batch_conductor_service.metrics import Metrics
from common_core.topics import EventName, topic_name
from service_libs.exceptions import BrokerUnavailableError, TransientError
from service_libs.kafka.producer import KafkaProducerClient, MessageTooLargeError

logger = structlog.get_logger(__name__)


class KafkaSkipEventPublisher:
    """Sends events together; one that fails does not keep the others back."""

    topic = topic_name(EventName.PHASE_SKIPPED)

    def __init__(self, producer: KafkaProducerClient, metrics: Metrics) -> None:
        self._producer = producer
        self._metrics = metrics

    async def publish_skips(self, events: Sequence[SkippedPhase]) -> Mapping[UUID, TransientError]:
        errors = await self._send(events)
        late: dict[UUID, TransientError] = {}
        for event, error in zip(events, errors, strict=True):
            self._metrics.phase_skipped_events.labels(event.step, _outcome(error)).inc()
            if isinstance(error, MessageTooLargeError):
                logger.error("skip_event_too_large", event_id=str(event.event_id))
            elif error is not None:
                late[event.event_id] = error
        return late

    async def _send(
        self, events: Sequence[SkippedPhase]
    ) -> Sequence[BrokerUnavailableError | None]:
        """Return for each event why it was not acknowledged, or None if it was."""
        messages = [(self.topic, e.batch_id.encode(), encode_phase_skipped(e), ()) for e in events]
        try:
            errors = await self._producer.send_all(messages)
        except BrokerUnavailableError as exc:
            return [exc] * len(events)
        if len(events) == 1 or not any(isinstance(e, MessageTooLargeError) for e in errors):
            return errors
        # The topic refuses a batch as a whole: which message it does not take shows alone.
        alone = {
            place: (await self._send([events[place]]))[0]
            for place, error in enumerate(errors)
            if isinstance(error, MessageTooLargeError)
        }
        return [alone.get(place, error) for place, error in enumerate(errors)]


def _outcome(error: BrokerUnavailableError | None) -> str:
    return "published" if error is None else "failed"
