"""The neighbours of the service: who sends events, who asks, and who reads what it says."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.support.builders import RecordedEvent

READ_SECONDS = 1.0  # silence after which a topic is taken as read


@asynccontextmanager
async def sender(bootstrap_servers: str) -> AsyncIterator[AIOKafkaProducer]:
    """A producer as a neighbour's relay has it."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def send(producer: AIOKafkaProducer, events: Iterable[RecordedEvent]) -> None:
    """Send the events and return when the broker has them all."""
    sent = [
        await producer.send(e.topic, key=e.key, value=e.value, timestamp_ms=e.timestamp_ms)
        for e in events
    ]
    await asyncio.gather(*sent)


async def read_values(bootstrap_servers: str, topic: str, key: bytes) -> list[bytes]:
    """Return what stands in a topic under the key, from its beginning."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        values: list[bytes] = []
        while polled := await consumer.getmany(timeout_ms=int(READ_SECONDS * 1000)):
            records = [record for batch in polled.values() for record in batch]
            values += [record.value for record in records if record.key == key]
        return values
    finally:
        await consumer.stop()


async def ask(
    address: str, batch: str, pipeline: str = "cj_assessment", correlation_id: str = "question-1"
) -> dict[str, Any]:
    """Ask the one question, and return the answer."""
    question = {
        "batch_id": batch,
        "requested_pipeline": pipeline,
        "correlation_id": correlation_id,
    }
    async with httpx.AsyncClient(timeout=30) as client:
        response = await client.post(f"{address}/internal/v1/pipelines/define", json=question)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


async def get_batch(address: str, batch: str) -> dict[str, Any]:
    """Return the summary of a batch."""
    async with httpx.AsyncClient(timeout=30) as client:
        response = await client.get(f"{address}/internal/v1/batches/{batch}")
    response.raise_for_status()
    summary: dict[str, Any] = response.json()
    return summary
