"""Records as other producers make them: compressed in any way, or not to be read at all."""

import pytest
from aiokafka import AIOKafkaProducer

from batch_conductor_service.local.kafka import KafkaBroker
from tests.support.builders import spellchecked
from tests.support.consuming import ControlledRepository
from tests.support.kafka import create_consumed_topics, running, until
from tests.support.membership import consumer_of, policy_for

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


async def test_records_of_every_compression_are_read(own_kafka: KafkaBroker) -> None:
    servers = own_kafka.bootstrap_servers
    await create_consumed_topics(servers, partitions=1)
    repository = ControlledRepository()
    for codec in CODECS:
        await produce_compressed(servers, codec, f"of-{codec}")

    async with running(consumer_of(policy_for(servers), repository)):
        await until(lambda: len(repository.applied) >= len(CODECS))

    assert await repository.completed("b1") == {f"of-{codec}" for codec in CODECS}
