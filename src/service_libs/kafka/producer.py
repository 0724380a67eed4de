"""One Kafka producer for all that a service publishes, with every wait bounded.

aiokafka's idempotent producer never gives a batch up, and its `stop` waits for the batch: with the
broker away, both hang. So a producer that did not get its acknowledgement in time is given up with
all it holds, and the next message starts a new one. What was given up may yet have arrived.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnknownTopicOrPartitionError,
)

from service_libs.exceptions import BrokerUnavailableError

MAX_REQUEST_BYTES = 4 * 1024 * 1024  # a wrapped dead letter outgrows its original of 1 MiB
GRACE_SECONDS = 1  # beyond the library's own timeout, so that it can say what was wrong
MAX_BATCH_BYTES = 64 * 1024  # of small messages, in a request; a larger one is a batch of its own
CLOSE_TIMEOUT_SECONDS = 2  # for each of the two ways to close

logger = structlog.get_logger(__name__)

Answer = TypeVar("Answer")
Outgoing = tuple[str, bytes | None, bytes, Sequence[tuple[str, bytes]]]  # as `send` takes it


class MessageTooLargeError(BrokerUnavailableError):
    """The message is larger than its topic takes."""


class UnknownTopicError(BrokerUnavailableError):
    """The topic does not exist."""


class KafkaProducerClient:
    """Sends messages and awaits their acknowledgement; connects when there is something to send.

    Args:
        linger_ms: for which a message waits for others to be sent with.
        compression: of batches, as aiokafka names it; None is right for small messages that are
            rarely sent together.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        client_id: str,
        enable_idempotence: bool,
        request_timeout_seconds: float,
        linger_ms: int = 0,
        compression: str | None = "gzip",
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._client_id = client_id
        self._enable_idempotence = enable_idempotence
        self._timeout_seconds = request_timeout_seconds
        self._linger_ms = linger_ms
        self._compression = compression
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def send(
        self, topic: str, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> None:
        """Return when all in-sync replicas have the message.

        Raises:
            MessageTooLargeError: it will not be taken as it is.
            BrokerUnavailableError: not acknowledged in time; it may yet arrive.
        """
        producer = await self._get_producer()
        sending = producer.send_and_wait(topic, value=value, key=key, headers=list(headers))
        await self._bounded(producer, sending)

    async def send_all(
        self, messages: Sequence[Outgoing]
    ) -> Sequence[BrokerUnavailableError | None]:
        """Send the messages together, and return when each is acknowledged or given up.

        Returns for each None, or what `send` would have raised.

        Raises:
            BrokerUnavailableError: there is no connection, and none was sent.
        """
        producer = await self._get_producer()
        ends = await _send_together(producer, messages, self._timeout_seconds + GRACE_SECONDS)
        return [None if error is None else self._translate(producer, error) for error in ends]

    async def ping(self) -> None:
        """Return if a broker answers.

        Raises:
            BrokerUnavailableError: none does in time.
        """
        producer = await self._get_producer()
        if not await self._bounded(producer, producer.client.force_metadata_update()):
            self._give_up(producer)
            raise BrokerUnavailableError

    async def stop(self) -> None:
        """Close, after what is on its way is acknowledged or has had its few seconds."""
        async with self._starting:
            if self._producer is not None:
                self._give_up(self._producer)
        await asyncio.gather(*self._closing)

    async def _get_producer(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                self._producer = await self._start_producer()
            return self._producer

    async def _start_producer(self) -> AIOKafkaProducer:
        producer = self._make_producer()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await producer.start()
        except BaseException as exc:
            self._close_later(producer)
            if isinstance(exc, TimeoutError | KafkaError):
                raise BrokerUnavailableError from exc
            raise
        return producer

    def _make_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=self._enable_idempotence,
            compression_type=self._compression,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
            request_timeout_ms=int(self._timeout_seconds * 1000),
            linger_ms=self._linger_ms,
        )

    async def _bounded(self, producer: AIOKafkaProducer, awaitable: Awaitable[Answer]) -> Answer:
        try:
            async with asyncio.timeout(self._timeout_seconds + GRACE_SECONDS):
                return await awaitable
        except (TimeoutError, KafkaError) as exc:
            raise self._translate(producer, exc) from exc

    def _translate(
        self, producer: AIOKafkaProducer, error: BaseException
    ) -> BrokerUnavailableError:
        """Return the error as one of ours; a producer that cannot go on is given up."""
        if isinstance(error, UnknownTopicOrPartitionError):
            # Nothing was sent, and others are served.
            return UnknownTopicError()
        self._give_up(producer)
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            # The refused batch had a sequence number: the idempotent producer's next one would
            # not follow the last that the broker took.
            return MessageTooLargeError()
        return BrokerUnavailableError()

    def _give_up(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
            self._close_later(producer)

    def _close_later(self, producer: AIOKafkaProducer) -> None:
        task = asyncio.create_task(_close(producer), name="close kafka producer")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _send_together(
    producer: AIOKafkaProducer, messages: Sequence[Outgoing], timeout_seconds: float
) -> Sequence[BaseException | None]:
    """Return for each message None when it is acknowledged, else why it is not by then."""
    sent: list[asyncio.Future[object]] = []
    refusal: BaseException = TimeoutError()
    try:
        async with asyncio.timeout(timeout_seconds):
            try:
                for topic, key, value, headers in messages:
                    sent.append(
                        await producer.send(topic, value=value, key=key, headers=list(headers))
                    )
            except KafkaError as exc:
                refusal = exc  # those before it may yet be acknowledged
            if sent:
                await asyncio.wait(sent)
    except TimeoutError:
        pass  # those that are not done show it
    finally:
        for acknowledgement in sent:
            acknowledgement.cancel()  # nothing, when it is done
    ends = [TimeoutError() if one.cancelled() else one.exception() for one in sent]
    return [*ends, *[refusal] * (len(messages) - len(sent))]


async def _close(producer: AIOKafkaProducer) -> None:
    """Close the producer in order if the broker lets us, else fail what it still holds."""
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait({stopping}, timeout=CLOSE_TIMEOUT_SECONDS)
    if not stopping.done():
        # Only this ends the flush that `stop` waits for, and the sends that wait with it.
        held = producer._message_accumulator  # noqa: SLF001 - there is no public way to drop it
        held.fail_all(KafkaConnectionError("given up"))
        await asyncio.wait({stopping}, timeout=CLOSE_TIMEOUT_SECONDS)
    stopping.cancel()
    error = (await asyncio.gather(stopping, return_exceptions=True))[0]
    if error is not None:
        # Its last part has not been come to: the connections would stay open.
        closing = asyncio.ensure_future(producer.client.close())
        await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_SECONDS)
        logger.warning("kafka_producer_not_closed_in_order", error=type(error).__name__)


class KafkaProbe:
    """Asks a broker for metadata over the producer's connection."""

    name = "kafka"

    def __init__(self, producer: KafkaProducerClient) -> None:
        self._producer = producer

    async def ping(self) -> None:
        await self._producer.ping()
