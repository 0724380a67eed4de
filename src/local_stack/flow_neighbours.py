"""ELS, the spellchecker and CJ, played over a real broker: they do what they are commanded."""

import asyncio
import json
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from common_core.topics import EventName, topic_name
from local_stack.neighbours import COMMAND_TOPICS, send_event

COMPLETED = topic_name(EventName.BATCH_PIPELINE_COMPLETED)
OWNER = "teacher-1"


class FlowNeighbours:
    """Registers batches, does what is commanded, and hears how runs end.

    Attributes:
        commands: every command, in its order: the phase, and the texts that it was given.
        work_seconds: how long a phase takes.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
        self._consumer = AIOKafkaConsumer(
            *COMMAND_TOPICS,
            COMPLETED,
            bootstrap_servers=bootstrap_servers,
            group_id=None,
            auto_offset_reset="latest",
        )
        self.commands: list[tuple[str, dict[str, str]]] = []
        self.work_seconds = 0.0
        self._ends: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._producer.start()
        await self._consumer.start()
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._consumer.stop()
        await self._producer.stop()

    async def register(self, batch_id: str, essay_ids: list[str], *, owner: str = OWNER) -> None:
        """Say that a class's batch has these essays, and that their texts are there."""
        registered = {
            "event": "batch.essays.registered",
            "entity_id": batch_id,
            "expected_essay_count": len(essay_ids),
            "essay_ids": essay_ids,
            "course_code": "ENG5",
            "user_id": owner,
            "class_id": "class-1",
        }
        await self._send(EventName.BATCH_ESSAYS_REGISTERED, batch_id, registered)
        ready = {
            "event": "batch.essays.ready",
            "batch_id": batch_id,
            "ready_essays": [
                {"essay_id": one, "text_storage_id": f"original-{one}"} for one in essay_ids
            ],
            "course_code": "ENG5",
            "course_language": "en",
            "class_type": "REGULAR",
        }
        await self._send(EventName.BATCH_ESSAYS_READY, batch_id, ready)

    async def hear_end(self, *, timeout_seconds: float) -> dict[str, Any]:
        """Return how the next run ended.

        Raises:
            TimeoutError: none did.
        """
        async with asyncio.timeout(timeout_seconds):
            return await self._ends.get()

    async def _listen(self) -> None:
        async for record in self._consumer:
            envelope = json.loads(record.value)
            if record.topic == COMPLETED:
                self._ends.put_nowait(envelope["data"])
            else:
                await self._do(COMMAND_TOPICS[record.topic], envelope)

    async def _do(self, phase: str, command: dict[str, Any]) -> None:
        """Do what is commanded, and say so: each service for itself, then ELS for the batch."""
        batch_id = command["data"]["entity_id"]
        given = {
            one["essay_id"]: one["text_storage_id"] for one in command["data"]["essays_to_process"]
        }
        self.commands.append((phase, given))
        await asyncio.sleep(self.work_seconds)
        if phase == "spellcheck":
            for essay_id in given:
                await self._spellcheck(batch_id, essay_id)
        if phase == "cj_assessment":
            await self._assess(batch_id, list(given))
        outcome = {
            "batch_id": batch_id,
            "phase_name": phase,
            "phase_status": "completed_successfully",
            "processed_essays": [
                {
                    "essay_id": one,
                    "text_storage_id": f"corrected-{one}" if phase == "spellcheck" else None,
                }
                for one in given
            ],
            "failed_essay_ids": [],
            "correlation_id": command["correlation_id"],
        }
        await self._send(EventName.ELS_BATCH_PHASE_OUTCOME, batch_id, outcome)

    async def _spellcheck(self, batch_id: str, essay_id: str) -> None:
        data = {
            "entity_id": essay_id,
            "batch_id": batch_id,
            "correlation_id": str(uuid4()),
            "status": "completed",
            "corrected_text_storage_id": f"corrected-{essay_id}",
            "processing_duration_ms": 120,
            "timestamp": datetime.now(UTC).isoformat(),
        }
        await self._send(EventName.SPELLCHECK_PHASE_COMPLETED, essay_id, data)

    async def _assess(self, batch_id: str, essay_ids: list[str]) -> None:
        data = {
            "event_name": "cj_assessment.completed",
            "entity_id": batch_id,
            "entity_type": "batch",
            "timestamp": datetime.now(UTC).isoformat(),
            "status": "completed_successfully",
            "system_metadata": {},
            "cj_assessment_job_id": str(uuid4()),
            "processing_summary": {
                "total_essays": len(essay_ids),
                "successful": len(essay_ids),
                "failed": 0,
                "successful_essay_ids": essay_ids,
                "failed_essay_ids": [],
                "processing_time_seconds": 1.0,
            },
        }
        await self._send(EventName.CJ_ASSESSMENT_COMPLETED, batch_id, data)

    async def _send(self, event: EventName, key: str, data: dict[str, Any]) -> None:
        await send_event(self._producer, event, key, data, source="a neighbour")
