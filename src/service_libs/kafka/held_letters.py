"""Which records the dead-letter topics already hold, so that a replay sends none of them again.

The topic itself is asked, by reading it: nothing else survives every crash, and knows what the
topic's retention has deleted. Where that is not certain a letter is sent again; none is ever left
out for less than the same place and the same bytes.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence

import orjson
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from common_core.records import RecordPosition
from common_core.topics import dlq_topic_name
from service_libs.exceptions import BrokerUnavailableError
from service_libs.kafka.dead_letter_format import DeadLetterFormat
from service_libs.kafka.group import KafkaConsumerGroup
from service_libs.kafka.records import DeadLetter
from service_libs.metrics import ServiceMetrics
from service_libs.protocols import DlqProducerProtocol

LOOK_SECONDS = 5  # between two looks into a topic: others write to it, too
READ_SECONDS = 5  # longest look; what was not read by then counts as not held
MAX_LETTERS = 20_000  # of each partition, the latest
RECORDS_AT_A_TIME = 50  # so that nobody waits for their parsing
MAX_FETCH_BYTES = 4 * 1024 * 1024

logger = structlog.get_logger(__name__)


class OnceOnlyDlqProducer:
    """`DlqProducerProtocol` for consumed records: none twice that its topic already holds."""

    def __init__(
        self, producer: DlqProducerProtocol, held: "HeldDeadLetters", metrics: ServiceMetrics
    ) -> None:
        self._producer = producer
        self._held = held
        self._metrics = metrics

    async def publish(self, letter: DeadLetter) -> None:
        if await self._held.holds(letter):
            topic = dlq_topic_name(letter.base_topic)
            self._metrics.dlq_messages.labels(topic, letter.reason, "already_held").inc()
            logger.info(
                "dead_letter_already_held",
                topic=letter.base_topic,
                partition=letter.partition,
                offset=letter.offset,
            )
            return
        await self._producer.publish(letter)
        self._held.add(letter)


class HeldDeadLetters:
    """What the topics hold, by the place of the original and the digest of its bytes."""

    def __init__(
        self,
        bootstrap_servers: str,
        group_id: str,
        form: DeadLetterFormat,
        *,
        request_timeout_seconds: float,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._group = KafkaConsumerGroup(
            bootstrap_servers, group_id, request_timeout_seconds=request_timeout_seconds
        )
        self._form = form
        self._digests: dict[RecordPosition, str] = {}
        self._read_to: dict[TopicPartition, int] = {}
        self._look_due: dict[str, float] = {}  # monotonic seconds, by topic
        self._looking = asyncio.Lock()  # letters side by side need one look, not one each

    async def holds(self, letter: DeadLetter) -> bool:
        """Whether the topic has a letter of this record, with these bytes."""
        position = _position(letter)
        if position is None:
            return False
        topic = dlq_topic_name(letter.base_topic)
        async with self._looking:
            if time.monotonic() >= self._look_due.get(topic, 0):
                await self._look(topic)
                self._look_due[topic] = time.monotonic() + LOOK_SECONDS
        return self._digests.get(position) == _digest(letter.payload)

    def add(self, letter: DeadLetter) -> None:
        """Note that the topic has this letter now."""
        if (position := _position(letter)) is not None:
            self._digests[position] = _digest(letter.payload)

    async def _look(self, topic: str) -> None:
        """Read what is new in the topic; what cannot be read in time is not held."""
        try:
            partitions = [TopicPartition(*p) for p in await self._group.list_partitions([topic])]
            async with asyncio.timeout(READ_SECONDS):
                if partitions:
                    await self._read(partitions)
        except (TimeoutError, KafkaError, BrokerUnavailableError) as exc:
            logger.warning("dead_letters_not_read", topic=topic, error=type(exc).__name__)

    async def _read(self, partitions: Sequence[TopicPartition]) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            enable_auto_commit=False,
            fetch_max_bytes=MAX_FETCH_BYTES,
        )
        try:
            await consumer.start()
            consumer.assign(partitions)
            unread = await self._seek(consumer, partitions)
            while unread:
                found = await consumer.getmany(timeout_ms=500, max_records=RECORDS_AT_A_TIME)
                for records in found.values():
                    self._note(records)
                for partition in tuple(unread):
                    self._read_to[partition] = await consumer.position(partition)
                    if self._read_to[partition] >= unread[partition]:
                        del unread[partition]
        finally:
            await consumer.stop()

    async def _seek(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Begin where the last look ended; return the ends of those that have more."""
        firsts = await consumer.beginning_offsets(partitions)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        for partition, end in ends.items():
            known = self._read_to.get(partition, 0)
            known = 0 if known > end else known  # the topic was created again
            start = max(firsts[partition], known, end - MAX_LETTERS)
            consumer.seek(partition, start)
            self._read_to[partition] = start
        return {p: end for p, end in ends.items() if self._read_to[p] < end}

    def _note(self, records: Sequence[ConsumerRecord[bytes | None, bytes | None]]) -> None:
        for record in records:
            try:
                position = self._stated_position(dict(record.headers))
                digest = self._stated_digest(record.value or b"", record.headers)
            except (ValueError, KeyError, TypeError):
                continue  # somebody else's letter
            self._digests.pop(position, None)
            self._digests[position] = digest
        while len(self._digests) > MAX_LETTERS:
            del self._digests[next(iter(self._digests))]

    def _stated_position(self, headers: dict[str, bytes]) -> RecordPosition:
        stated = {
            name: headers[f"{self._form.prefix}original-{name}"]
            for name in ("topic", "partition", "offset")
        }
        return RecordPosition(
            topic=stated["topic"].decode(),
            partition=int(stated["partition"]),
            offset=int(stated["offset"]),
        )

    def _stated_digest(self, value: bytes, headers: Sequence[tuple[str, bytes]]) -> str:
        try:
            return _digest(self._form.original_record(value, headers).value)
        except ValueError:  # of a record that was too large for its letter, the digest is stated
            stated: str = orjson.loads(value)["additional_metadata"]["payload_sha256"]
            return stated


def _position(letter: DeadLetter) -> RecordPosition | None:
    if letter.partition is None or letter.offset is None:
        return None
    return RecordPosition(topic=letter.base_topic, partition=letter.partition, offset=letter.offset)


def _digest(payload: bytes | None) -> str:
    return hashlib.sha256(payload or b"").hexdigest()
