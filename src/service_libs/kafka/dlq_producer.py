"""Dead letters as Kafka messages."""

import structlog

from service_libs.exceptions import BrokerUnavailableError
from service_libs.kafka.dead_letter_format import DeadLetterFormat, Message, subject_of
from service_libs.kafka.producer import KafkaProducerClient, MessageTooLargeError
from service_libs.kafka.records import DeadLetter
from service_libs.metrics import ServiceMetrics
from service_libs.protocols import ClockProtocol

logger = structlog.get_logger(__name__)


class KafkaDlqProducerImpl:
    """Sends each dead letter to its own topic; there is no dead letter of a dead letter."""

    def __init__(
        self,
        producer: KafkaProducerClient,
        form: DeadLetterFormat,
        metrics: ServiceMetrics,
        clock: ClockProtocol,
    ) -> None:
        self._producer = producer
        self._form = form
        self._metrics = metrics
        self._clock = clock

    async def publish(self, letter: DeadLetter) -> None:
        message = self._form.wrap(letter, self._clock.now())
        try:
            await self._send(letter, message)
        except BrokerUnavailableError as exc:
            self._count(message, letter, "failed")
            raise BrokerUnavailableError(
                f"The topic '{message.topic}' does not take a dead letter now, or does not exist."
            ) from exc
        self._count(message, letter, "published")
        logger.warning(
            "dead_letter_published",
            topic=letter.base_topic,
            partition=letter.partition,
            offset=letter.offset,
            reason=letter.reason,
            **subject_of(letter),
        )

    async def _send(self, letter: DeadLetter, message: Message) -> None:
        try:
            await self._producer.send(*message)
        except MessageTooLargeError:
            await self._send_smaller(letter)

    async def _send_smaller(self, letter: DeadLetter) -> None:
        now = self._clock.now()
        try:
            await self._producer.send(*self._form.wrap_original(letter, now))
        except MessageTooLargeError:
            # A record that is too large for its dead letter would hold up all others for ever.
            await self._producer.send(*self._form.wrap_reference(letter, now))
            logger.error(  # noqa: TRY400 - the cause is said, and is no fault of the code
                "dead_letter_without_payload",
                topic=letter.base_topic,
                partition=letter.partition,
                offset=letter.offset,
                payload_bytes=len(letter.payload or b""),
            )

    def _count(self, message: Message, letter: DeadLetter, outcome: str) -> None:
        self._metrics.dlq_messages.labels(message.topic, letter.reason, outcome).inc()
