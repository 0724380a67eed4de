"""Records as other producers make them: compressed in any way, or not to be read at all."""

import asyncio

import aiokafka.codec
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from common_core.topics import EventName, topic_name
from local_stack.kafka import KafkaBroker
from service_libs.kafka.patience import UnreadablePollError
from service_libs.kafka.record_source import KafkaRecordSource
from service_libs.protocols import RecordSourceProtocol
from service_libs.timing import SystemClock
from tests.support.builders import spellchecked
from tests.support.consuming import ControlledRepository
from tests.support.kafka import create_consumed_topics, running, until
from tests.support.membership import consumer_of, policy_for

CHECKSUM_OFFSET, CHECKED_OFFSET = 17, 21  # in a batch of Kafka's format 2

SPELLCHECK = topic_name(EventName.SPELLCHECK_PHASE_COMPLETED)
CODECS = (None, "gzip", "lz4", "snappy", "zstd")


async def produce_compressed(servers: str, codec: str | None, essay: str) -> None:
    """Produce one event, in a batch that is compressed so."""
    event = spellchecked("b1", essay)
    producer = AIOKafkaProducer(bootstrap_servers=servers, compression_type=codec)
    await producer.start()
    try:
        await producer.send_and_wait(event.topic, event.value, event.key, partition=0)
    finally:
        await producer.stop()


def batch_with_header_name(name: bytes) -> bytes:
    """Return a batch of one record with a header whose name need not be text."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1000,
    )
    placeholder = "n" * len(name)
    builder.append(0, timestamp=1, key=b"key", value=b"value", headers=[(placeholder, b"")])
    batch = builder.build().replace(placeholder.encode(), name)
    checksum = calc_crc32c(bytes(batch[CHECKED_OFFSET:])).to_bytes(4, "big")
    return bytes(batch[:CHECKSUM_OFFSET] + checksum + batch[CHECKED_OFFSET:])


async def produce_batch(servers: str, topic: str, batch: bytes) -> None:
    """Produce a batch as it is to the topic's only partition."""
    client = AIOKafkaClient(bootstrap_servers=servers)
    await client.bootstrap()
    try:
        await client.add_topic(topic)
        leader = client.cluster.leader_for_partition(TopicPartition(topic, 0))
        await client.send(leader, ProduceRequest(None, -1, 5000, [(topic, [(0, batch)])]))
    finally:
        await client.close()


async def test_records_of_every_compression_are_read(own_kafka: KafkaBroker) -> None:
    servers = own_kafka.bootstrap_servers
    await create_consumed_topics(servers, partitions=1)
    repository = ControlledRepository()
    for codec in CODECS:
        await produce_compressed(servers, codec, f"of-{codec}")

    async with running(consumer_of(policy_for(servers), repository)):
        await until(lambda: len(repository.applied) >= len(CODECS))

    assert await repository.completed("b1") == {f"of-{codec}" for codec in CODECS}


async def test_an_unknown_compression_is_known_to_stay_unreadable(
    own_kafka: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = own_kafka.bootstrap_servers
    await create_consumed_topics(servers, partitions=1)
    await produce_compressed(servers, "zstd", "e1")
    monkeypatch.setattr(aiokafka.codec, "cramjam", None)

    error = await poll_until_unreadable(servers)

    assert error.positions == {(SPELLCHECK, 0): 0}
    assert error.is_final


async def test_a_record_that_the_library_hands_out_to_nobody_is_unreadable(
    own_kafka: KafkaBroker,
) -> None:
    """None is, whose header has a name that is not UTF-8; and it stays so for the next source."""
    servers = own_kafka.bootstrap_servers
    await create_consumed_topics(servers, partitions=1)
    await produce_compressed(servers, None, "before")
    await produce_batch(servers, SPELLCHECK, batch_with_header_name(b"\xff\xfe"))
    await produce_compressed(servers, None, "after")

    for _ in range(2):
        error = await poll_until_unreadable(servers)

        assert error.positions[SPELLCHECK, 0] in {0, 1}
        assert not error.is_final


async def poll_until_unreadable(servers: str) -> UnreadablePollError:
    """Have a new member of a new group read all there is; return what it fails with."""

    async def nothing_to_drain(source: RecordSourceProtocol) -> None:
        del source

    source = KafkaRecordSource(policy_for(servers), [SPELLCHECK], nothing_to_drain, SystemClock())
    await source.open()
    try:
        with pytest.raises(UnreadablePollError) as raised:
            await asyncio.wait_for(poll_on(source), 20)
    finally:
        await source.close()
    return raised.value


async def poll_on(source: RecordSourceProtocol) -> None:
    """Poll until it fails."""
    while True:
        await source.poll()
