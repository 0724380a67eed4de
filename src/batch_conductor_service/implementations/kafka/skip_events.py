"""Skip events as Kafka messages."""

import asyncio

from batch_conductor_service.domain.resolution import Resolution
from batch_conductor_service.events.phase_skipped import OutgoingEvent, phase_skipped_events
from batch_conductor_service.exceptions import BrokerUnavailableError
from batch_conductor_service.implementations.kafka.producer import KafkaProducerClient
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.protocols import ClockProtocol


class KafkaSkipEventPublisher:
    """Sends the events of a resolution together; one that fails does not keep the others back."""

    def __init__(
        self, producer: KafkaProducerClient, metrics: Metrics, clock: ClockProtocol
    ) -> None:
        self._producer = producer
        self._metrics = metrics
        self._clock = clock

    async def publish_skips(self, resolution: Resolution) -> None:
        events = phase_skipped_events(resolution, self._clock.now())
        outcomes = await asyncio.gather(*map(self._publish, events), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _publish(self, event: OutgoingEvent) -> None:
        try:
            await self._producer.send(event.topic, event.key, event.value, ())
        except BrokerUnavailableError:
            self._metrics.phase_skipped_events.labels(event.step, "failed").inc()
            raise
        self._metrics.phase_skipped_events.labels(event.step, "published").inc()
