"""Dead letters and skip events where there is no Kafka: logged, and kept nowhere."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog

from batch_conductor_service.events.phase_skipped import OutgoingEvent
from service_libs.exceptions import TransientError
from service_libs.kafka.records import DeadLetter

logger = structlog.get_logger(__name__)


class NoOpDlqProducerImpl:
    """Accepts every dead letter."""

    async def publish(self, letter: DeadLetter) -> None:
        logger.warning("dead_letter_not_sent", topic=letter.base_topic, reason=letter.reason)


class NoOpSkipEventPublisher:
    """Accepts every event."""

    async def publish_skips(self, events: Sequence[OutgoingEvent]) -> Mapping[UUID, TransientError]:
        steps = sorted({event.step for event in events})
        logger.info("skip_events_not_sent", count=len(events), steps=steps)
        return {}
