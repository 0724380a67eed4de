"""What the neighbours of the service do, played here over a real broker."""

import asyncio
import json
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from common_core.topics import EventName, topic_name

PARTITIONS = 3
# The phases that are commanded by name, as pipelines.yaml has them.
COMMAND_TOPICS = {
    "huleedu.els.spellcheck.initiate.command.v1": "spellcheck",
    "huleedu.batch.nlp.initiate.command.v2": "nlp",
    "huleedu.batch.ai_feedback.initiate.command.v1": "ai_feedback",
    "huleedu.batch.cj_assessment.initiate.command.v1": "cj_assessment",
}


class Neighbours:
    """Sends events as the neighbours send them, and hears what the service publishes."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
        self._listener = AIOKafkaConsumer(
            topic_name(EventName.PHASE_SKIPPED),
            bootstrap_servers=bootstrap_servers,
            group_id=None,
            auto_offset_reset="earliest",
        )

    async def __aenter__(self) -> Self:
        await self._producer.start()
        await self._listener.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._listener.stop()
        await self._producer.stop()

    @staticmethod
    async def create_topics(bootstrap_servers: str, partitions: int = PARTITIONS) -> None:
        """Create the topics, which the neighbours own."""
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
        await admin.start()
        try:
            known = await admin.list_topics()
            wanted = {*map(topic_name, EventName), *COMMAND_TOPICS} - set(known)
            await admin.create_topics([NewTopic(name, partitions, 1) for name in sorted(wanted)])
        finally:
            await admin.close()

    async def register(self, batch_id: str, essay_ids: list[str]) -> None:
        """Say that a batch has these essays."""
        data = {
            "event": "batch.essays.registered",
            "entity_id": batch_id,
            "expected_essay_count": len(essay_ids),
            "essay_ids": essay_ids,
            "course_code": "ENG5",
            "user_id": "teacher-1",
            "class_id": "class-1",
            "metadata": {
                "entity_id": batch_id,
                "entity_type": "batch",
                "timestamp": datetime.now(UTC).isoformat(),
            },
        }
        await self._send(EventName.BATCH_ESSAYS_REGISTERED, batch_id, data, "els")

    async def complete_spellcheck(self, batch_id: str, essay_id: str) -> None:
        """Say that one essay went through spellcheck."""
        data = {
            "entity_id": essay_id,
            "batch_id": batch_id,
            "correlation_id": str(uuid4()),
            "status": "completed",
            "corrected_text_storage_id": f"corrected-{essay_id}",
            "error_code": None,
            "processing_duration_ms": 120,
            "timestamp": datetime.now(UTC).isoformat(),
        }
        source = "spellchecker_service"
        await self._send(EventName.SPELLCHECK_PHASE_COMPLETED, essay_id, data, source)

    async def hear_skip(self, batch_id: str, *, timeout_seconds: float) -> dict[str, Any]:
        """Return the next skip event of the batch, as it stands in Kafka.

        Raises:
            TimeoutError: none came.
        """
        async with asyncio.timeout(timeout_seconds):
            while True:
                record = await self._listener.getone()
                event: dict[str, Any] = json.loads(record.value)
                if event["data"]["batch_id"] == batch_id:
                    return event

    async def _send(self, event: EventName, key: str, data: dict[str, Any], source: str) -> None:
        await send_event(self._producer, event, key, data, source=source)


async def send_event(
    producer: AIOKafkaProducer,
    event: EventName,
    key: str,
    data: dict[str, Any],
    *,
    source: str,
    correlation_id: str | None = None,
) -> None:
    """Send an event as its owner sends it."""
    envelope = {
        "event_id": str(uuid4()),
        "event_type": event.value,
        "event_timestamp": datetime.now(UTC).isoformat(),
        "source_service": source,
        "schema_version": 1,
        "correlation_id": correlation_id or str(uuid4()),
        "data_schema_uri": None,
        "data": data,
        "metadata": None,
    }
    value = json.dumps(envelope).encode()
    await producer.send_and_wait(topic_name(event), value, key=key.encode())
