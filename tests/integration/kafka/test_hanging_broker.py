"""A broker that takes connections and says nothing, as one does that swaps or is partitioned."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer

from batch_conductor_service.consuming.policy import ConsumerPolicy
from local_stack.kafka import KafkaBroker
from service_libs.exceptions import BrokerUnavailableError
from service_libs.kafka.aiokafka_gaps import close_in_parts
from service_libs.kafka.producer import KafkaProducerClient
from tests.support.builders import spellchecked
from tests.support.consuming import ControlledRepository
from tests.support.kafka import create_consumed_topics, produce, running, until
from tests.support.membership import consumer_of, policy_for

STOP_SECONDS = 5  # a second each to drain, to commit and to leave, and some for a busy machine


@pytest.fixture
def silent_address() -> Iterator[str]:
    """The address of a server that never answers: the system itself accepts the connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        yield f"{host}:{port}"


def patient_policy(servers: str) -> ConsumerPolicy:
    """Return a policy that would wait for the broker for longer than there is time to stop."""
    return replace(policy_for(servers), request_timeout_seconds=20)


async def test_a_consumer_that_never_got_an_answer_stops_in_time(silent_address: str) -> None:
    consumer = consumer_of(patient_policy(silent_address), ControlledRepository())
    async with running(consumer):
        await asyncio.sleep(0.5)
        began = time.monotonic()

    assert time.monotonic() - began < STOP_SECONDS


async def test_a_consumer_whose_broker_fell_silent_stops_in_time(own_kafka: KafkaBroker) -> None:
    servers = own_kafka.bootstrap_servers
    await create_consumed_topics(servers, partitions=1)
    repository = ControlledRepository()
    async with running(consumer_of(patient_policy(servers), repository)):
        await produce(servers, [spellchecked("b1", "e1")])
        repository.may_answer.clear()
        await until(lambda: repository.calls == 1)
        assert own_kafka.pid
        os.kill(own_kafka.pid, signal.SIGSTOP)
        repository.may_answer.set()
        await until(lambda: bool(repository.applied))
        await asyncio.sleep(0.5)  # by now it waits for its commit
        began = time.monotonic()
    took = time.monotonic() - began
    os.kill(own_kafka.pid, signal.SIGCONT)

    assert took < STOP_SECONDS


async def test_a_consumer_that_was_cut_off_before_it_began_is_closed_in_parts(
    silent_address: str,
) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=silent_address)
    try:
        await close_in_parts(consumer)
    finally:
        await consumer.stop()

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_broker_that_died_is_noticed_when_asked(own_kafka: KafkaBroker) -> None:
    producer = KafkaProducerClient(
        own_kafka.bootstrap_servers,
        client_id="test",
        enable_idempotence=False,
        request_timeout_seconds=2,
    )
    try:
        await producer.ping()
        own_kafka.kill()
        with pytest.raises(BrokerUnavailableError):
            await producer.ping()
    finally:
        await producer.stop()
