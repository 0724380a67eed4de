"""The relay: what was saved with the state goes to the broker, as it was saved.

At least once, always with the same bytes and id; in order within a batch; one process at a time. It
never gives up, and one message that the broker does not take holds up only its own batch.
"""

from collections.abc import Sequence
from uuid import UUID

import structlog

from batch_orchestrator_service.events.messages import OutgoingMessage
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.protocols import OutboxLeaseProtocol, OutboxProtocol
from batch_orchestrator_service.signals import Signals
from service_libs.exceptions import TransientError
from service_libs.failpoints import failpoint
from service_libs.kafka.producer import (
    KafkaProducerClient,
    MessageTooLargeError,
    UnknownTopicError,
)
from service_libs.protocols import ClockProtocol
from service_libs.timing import Backoff

LOOK_SECONDS = 0.1  # between two looks for messages of other processes
STANDBY_SECONDS = 1.0  # between two tries to become the one that sends
MAX_BACKOFF_SECONDS = 5.0
MESSAGES_AT_A_TIME = 500

logger = structlog.get_logger(__name__)


class Relay:
    """The background task that sends what waits."""

    name = "relay"

    def __init__(
        self,
        outbox: OutboxProtocol,
        producer: KafkaProducerClient,
        metrics: Metrics,
        clock: ClockProtocol,
        signals: Signals,
    ) -> None:
        self._outbox = outbox
        self._producer = producer
        self._metrics = metrics
        self._clock = clock
        self._backoff = Backoff(MAX_BACKOFF_SECONDS)
        self._wakeups = signals.unsent

    async def run(self) -> None:
        while not self._wakeups.is_stopping:
            try:
                async with self._outbox.lead() as lease:
                    if lease is not None:
                        logger.info("relay_leads")
                        await self._send_on(lease)
                        return
            except TransientError as exc:
                logger.warning("relay_interrupted", error=str(exc))
            await self._wakeups.wait(STANDBY_SECONDS)

    def stop(self) -> None:
        self._wakeups.stop()

    async def _send_on(self, lease: OutboxLeaseProtocol) -> None:
        """Send until the stop, and what was saved by then."""
        while True:
            is_stopping = self._wakeups.is_stopping
            self._wakeups.begin_look()
            sent, failed = await self.sweep(lease)
            if failed and not sent:
                if is_stopping:
                    return
                await self._wakeups.pause(self._backoff.next_delay())
            elif not sent:
                if is_stopping:
                    return
                self._backoff.reset()
                await self._wakeups.rest(LOOK_SECONDS)

    async def sweep(self, lease: OutboxLeaseProtocol) -> tuple[int, int]:
        """Try the oldest message of every batch once; return how many were sent, and how many not.

        Raises:
            TransientError: the store cannot be reached, or another sends by now.
        """
        sent = failed = after = 0
        blocked: set[bytes] = set()
        while page := await lease.read(MESSAGES_AT_A_TIME, after=after):
            after = page[-1].number
            firsts: dict[bytes, OutgoingMessage] = {}
            for message in page:
                if message.key not in blocked:
                    firsts.setdefault(message.key, message)
            # One that waits behind another of its batch has its turn in the next sweep.
            blocked.update(message.key for message in page)
            taken = await self._send(list(firsts.values()))
            if taken is None:
                return sent, failed + len(firsts)
            if taken:
                await lease.mark_sent(taken, self._clock.now())
                failpoint("bos.marked")
            sent += len(taken)
            failed += len(firsts) - len(taken)
        return sent, failed

    async def _send(self, messages: Sequence[OutgoingMessage]) -> list[UUID] | None:
        """Return the ids of those that the broker has acknowledged; None if there is no broker."""
        taken: list[UUID] = []
        left = list(messages)
        failpoint("bos.unsent")
        try:
            while left:
                taken, left = await self._send_some(taken, left)
        except TransientError as exc:
            logger.warning("messages_not_sent", count=len(left), error=str(exc))
            return taken or None
        finally:
            self._metrics.messages_sent.labels("success").inc(len(taken))
            self._metrics.messages_sent.labels("failure").inc(len(messages) - len(taken))
        failpoint("bos.sent")
        return taken

    async def _send_some(
        self, taken: list[UUID], messages: Sequence[OutgoingMessage]
    ) -> tuple[list[UUID], list[OutgoingMessage]]:
        """Send the messages; return what is taken by now, and what one refused message held up.

        Raises:
            BrokerUnavailableError: there is no connection.
        """
        outgoing = [(one.topic, one.key, one.value, ()) for one in messages]
        ends = await self._producer.send_all(outgoing)
        taken = taken + [m.message_id for m, end in zip(messages, ends, strict=True) if end is None]
        refused = [(m, end) for m, end in zip(messages, ends, strict=True) if end is not None]
        if not refused:
            return taken, []
        (message, error), *others = refused
        logger.warning("message_not_sent", topic=message.topic, error=str(error))
        if not isinstance(error, MessageTooLargeError | UnknownTopicError):
            return taken, []
        return taken, [other for other, _ in others]
