"""The neighbours during a run: a relay that sends until acknowledged, and a caller that asks."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, NamedTuple

import httpx
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from batch_conductor_service.models import BatchId
from tests.support.builders import RecordedEvent
from tests.support.faults.journal import Journal
from tests.support.faults.model import Model, sent_ms

SEND_TIMEOUT_SECONDS = 4
ASK_TIMEOUT_SECONDS = 15
ASK_EVERY_SECONDS = 0.05
PIPELINES = ("cj_assessment", "nlp", "comprehensive")


class Relay:
    """Sends each event until the broker has it; whether an unanswered try arrived is unknown."""

    def __init__(self, producer: AIOKafkaProducer, model: Model, journal: Journal) -> None:
        self._producer = producer
        self._model = model
        self._journal = journal

    async def send(self, events: Sequence[RecordedEvent], *, over_seconds: float = 0) -> None:
        """Send the events in order, evenly over the time, a few at once."""
        pause = over_seconds / max(1, len(events))
        tasks = []
        for event in events:
            tasks.append(asyncio.create_task(self._send_one(event)))
            await asyncio.sleep(pause)
        await asyncio.gather(*tasks)

    async def send_nonsense(self, topic: str, *values: bytes | None) -> None:
        """Send what is no event: nothing is to follow from it but dead letters."""
        for value in values:
            await self._producer.send_and_wait(topic, key=b"key", value=value)
            self._journal.note("nonsense", topic=topic)

    async def _send_one(self, event: RecordedEvent) -> None:
        self._model.send(event)
        while True:
            try:
                async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                    at = await self._producer.send_and_wait(
                        event.topic,
                        key=event.key,
                        value=event.value,
                        timestamp_ms=sent_ms(event),
                    )
            except (KafkaError, TimeoutError) as exc:
                self._journal.note("unknown", topic=event.topic, error=type(exc).__name__)
                await asyncio.sleep(0.2)
            else:
                self._journal.note(
                    "acknowledged", topic=event.topic, partition=at.partition, offset=at.offset
                )
                return


@asynccontextmanager
async def open_relay(
    bootstrap_servers: str, model: Model, journal: Journal
) -> AsyncIterator[Relay]:
    """Give a relay."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        request_timeout_ms=3000,
        metadata_max_age_ms=2000,
    )
    await producer.start()
    try:
        yield Relay(producer, model, journal)
    finally:
        await producer.stop()


class Answer(NamedTuple):
    """What was answered: the steps to skip, and whether that was said to be with care."""

    skipped: list[str]
    is_degraded: bool


class Caller:
    """Asks for pipelines and holds every answer against the model."""

    def __init__(self, addresses: Sequence[str], model: Model, journal: Journal) -> None:
        self._client = httpx.AsyncClient(timeout=ASK_TIMEOUT_SECONDS)
        self._addresses = addresses
        self._model = model
        self._journal = journal
        self.statuses: Counter[str] = Counter()
        self.false_greens: list[str] = []

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ask_until_cancelled(self, random: Random) -> None:
        """Ask about any batch, again and again."""
        while True:
            if batches := self._model.batches:
                address = random.choice(self._addresses)
                await self.ask(random.choice(batches), random.choice(PIPELINES), address)
            await asyncio.sleep(ASK_EVERY_SECONDS)

    async def ask(self, batch: BatchId, pipeline: str, address: str) -> Answer | None:
        """Return the answer, held against the model; None where there was none."""
        question = {"batch_id": batch, "requested_pipeline": pipeline}
        try:
            response = await self._client.post(
                f"{address}/internal/v1/pipelines/define", json=question
            )
        except httpx.HTTPError as exc:
            self.statuses[type(exc).__name__] += 1
            return None
        self.statuses[str(response.status_code)] += 1
        if response.status_code != httpx.codes.OK:
            return None
        body = response.json()
        skipped = [phase["name"] for phase in body["phases"] if phase["verdict"] == "skip"]
        answer = Answer(skipped, is_degraded=body["degraded"])
        self._judge(batch, pipeline, answer)
        return answer

    async def ask_health(self, address: str) -> dict[str, Any]:
        """Return what the process says of itself."""
        response = await self._client.get(f"{address}/healthz")
        body: dict[str, Any] = response.json()
        return body

    def _judge(self, batch: BatchId, pipeline: str, answer: Answer) -> None:
        skipped, is_degraded = answer
        self._journal.note("answered", batch=batch, skipped=skipped, degraded=is_degraded)
        self.statuses["degraded"] += is_degraded
        for step in self._model.false_greens(batch, pipeline, skipped):
            self._journal.note("false_green", batch=batch, step=step, degraded=is_degraded)
            self.false_greens.append(f"{step} of {batch} (degraded: {is_degraded})")
