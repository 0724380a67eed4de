"""Dead letters and skip events where there is no Kafka: logged, and kept nowhere."""

import structlog

from batch_conductor_service.domain.resolution import Resolution
from batch_conductor_service.port_values import DeadLetter

logger = structlog.get_logger(__name__)


class NoOpDlqProducerImpl:
    """Accepts every dead letter."""

    async def publish(self, letter: DeadLetter) -> None:
        logger.warning("dead_letter_not_sent", topic=letter.base_topic, reason=letter.reason)


class NoOpSkipEventPublisher:
    """Accepts every resolution."""

    async def publish_skips(self, resolution: Resolution) -> None:
        batch_id, steps = resolution.request.batch_id, resolution.skipped
        logger.info("skip_events_not_sent", batch_id=batch_id, steps=steps)
