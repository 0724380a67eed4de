"""The clients and ELS, as the flow is measured with them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from common_core.topics import EventName, topic_name
from local_stack.flow_neighbours import COMPLETED, OWNER
from local_stack.neighbours import COMMAND_TOPICS

PIPELINE = "nlp"  # spellcheck, then nlp
ESSAYS = 30  # of a batch
READY_SECONDS = 60.0


class Players:
    """The clients and ELS: commands are answered at once, unless they are to stay open.

    Attributes:
        asked: when each batch's pipeline was asked for: clicked for, or acknowledged by the broker.
        commanded: when its first phase command was read.
        completed: when the end of its run was.
    """

    def __init__(self, bootstrap_servers: str, gateway: httpx.AsyncClient) -> None:
        self._gateway = gateway
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, linger_ms=2)
        self._consumer = AIOKafkaConsumer(
            *COMMAND_TOPICS,
            COMPLETED,
            bootstrap_servers=bootstrap_servers,
            group_id=None,
            fetch_max_wait_ms=10,
        )
        self._essays = [f"essay-{number:03}" for number in range(ESSAYS)]
        self.are_answering = True
        self.asked: dict[str, float] = {}
        self.commanded: dict[str, float] = {}
        self.completed: dict[str, float] = {}

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        """Be connected, and listen, until the end of the block."""
        async with self._producer, self._consumer:
            listening = asyncio.create_task(self._listen())
            try:
                yield
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def make_ready(self, batches: list[str]) -> None:
        """Register the batches, and say that their texts are there."""
        for batch in batches:
            registered = {
                "event": "batch.essays.registered",
                "entity_id": batch,
                "expected_essay_count": len(self._essays),
                "essay_ids": self._essays,
                "course_code": "ENG5",
                "user_id": OWNER,
                "class_id": "class-1",
            }
            ready = {
                "event": "batch.essays.ready",
                "batch_id": batch,
                "ready_essays": [
                    {"essay_id": one, "text_storage_id": f"original-{one}"} for one in self._essays
                ],
                "course_code": "ENG5",
                "course_language": "en",
                "class_type": "REGULAR",
            }
            _ = await self._send(EventName.BATCH_ESSAYS_REGISTERED, batch, registered)
            _ = await self._send(EventName.BATCH_ESSAYS_READY, batch, ready)
        await self._producer.flush()

    async def until_ready(self, batch: str) -> None:
        """Wait until BOS knows that the texts are there."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                answer = await self._gateway.get(f"/v1/batches/{batch}/status")
                if answer.is_success and answer.json()["status"] == "ready":
                    return
                await asyncio.sleep(0.05)

    async def click(self, batch: str) -> None:
        """Ask the gateway for a pipeline of two phases, and note when that was."""
        self.asked[batch] = time.monotonic()
        answer = await self._gateway.post(
            f"/v1/batches/{batch}/pipelines",
            json={"requested_pipeline": PIPELINE},
            headers={"Idempotency-Key": batch},
        )
        answer.raise_for_status()

    async def command(self, batch: str) -> None:
        """Ask BOS for the same over Kafka, and note when the broker has it."""
        data = {
            "batch_id": batch,
            "requested_pipeline": PIPELINE,
            "client_correlation_id": str(uuid4()),
            "user_id": OWNER,
            "is_retry": False,
            "request_id": str(uuid4()),
        }
        acknowledged = await self._send(EventName.CLIENT_BATCH_PIPELINE_REQUEST, batch, data)
        await acknowledged
        self.asked[batch] = time.monotonic()

    async def _listen(self) -> None:
        async for record in self._consumer:
            envelope = json.loads(record.value)
            now = time.monotonic()
            if record.topic == COMPLETED:
                self.completed[envelope["data"]["batch_id"]] = now
                continue
            self.commanded.setdefault(envelope["data"]["entity_id"], now)
            if self.are_answering:
                await self._answer(COMMAND_TOPICS[record.topic], envelope)

    async def _answer(self, phase: str, command: dict[str, Any]) -> None:
        batch = command["data"]["entity_id"]
        essays = [one["essay_id"] for one in command["data"]["essays_to_process"]]
        outcome = {
            "batch_id": batch,
            "phase_name": phase,
            "phase_status": "completed_successfully",
            "processed_essays": [
                {"essay_id": one, "text_storage_id": f"{phase}-{one}"} for one in essays
            ],
            "failed_essay_ids": [],
            "correlation_id": command["correlation_id"],
        }
        correlation = command["correlation_id"]
        _ = await self._send(EventName.ELS_BATCH_PHASE_OUTCOME, batch, outcome, correlation)

    async def _send(
        self, event: EventName, batch: str, data: dict[str, Any], correlation: str | None = None
    ) -> asyncio.Future[object]:
        envelope = {
            "event_id": str(uuid4()),
            "event_type": event.value,
            "event_timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "source_service": "bench",
            "schema_version": 1,
            "correlation_id": correlation or str(uuid4()),
            "data": data,
        }
        value = json.dumps(envelope).encode()
        sent: asyncio.Future[object] = await self._producer.send(
            topic_name(event), value, key=batch.encode()
        )
        return sent
