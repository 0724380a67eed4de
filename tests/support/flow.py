"""BOS and BCS as processes, and the neighbours between them played over the broker."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from tests.support.processes import ServiceProcess, address_of, ended_in_order
from tests.support.stack import Stack

COMMANDS = {
    "huleedu.els.spellcheck.initiate.command.v1": "spellcheck",
    "huleedu.batch.nlp.initiate.command.v2": "nlp",
    "huleedu.batch.ai_feedback.initiate.command.v1": "ai_feedback",
    "huleedu.batch.cj_assessment.initiate.command.v1": "cj_assessment",
}
COMPLETED = "huleedu.batch.pipeline.completed.v1"
REQUESTS = "huleedu.commands.batch.pipeline.v1"
REGISTERED = "huleedu.batch.essays.registered.v1"
READY = "huleedu.els.batch.essays.ready.v1"
OUTCOMES = "huleedu.els.batch.phase.outcome.v1"
SPELLCHECKED = "huleedu.batch.spellcheck.phase.completed.v1"
ASSESSED = "huleedu.cj_assessment.completed.v1"
TOPICS = (*COMMANDS, COMPLETED, OUTCOMES, READY, REGISTERED, REQUESTS, SPELLCHECKED, ASSESSED)


@contextmanager
def bos_process(
    stack: Stack, bcs_address: str, **changes: object
) -> Iterator[tuple[ServiceProcess, str]]:
    """Run `bos serve` on the stack's servers, asking that BCS; end it in order."""
    process = _start_bos(stack, bcs_address, changes)
    with ended_in_order(process):
        yield process, address_of(process)


@contextmanager
def dying_bos_process(
    stack: Stack, bcs_address: str, **changes: object
) -> Iterator[ServiceProcess]:
    """Run one that dies, perhaps before it serves."""
    process = _start_bos(stack, bcs_address, changes)
    try:
        yield process
    finally:
        process.close()


def _start_bos(stack: Stack, bcs_address: str, changes: Mapping[str, object]) -> ServiceProcess:
    settings: dict[str, object] = {
        "ENVIRONMENT": "production",
        "DATABASE_URL": stack.postgres.url,
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "KAFKA_CONSUMER_GROUP_ID": f"bos-{stack.group_id}",
        "KAFKA_ENABLE_IDEMPOTENCE": "false",
        "BCS_BASE_URL": bcs_address,
        # Whoever takes over from one that died does not make the test wait.
        "BCS_TIMEOUT": 3,
        "KAFKA_SESSION_TIMEOUT_SECONDS": 6,
    }
    return ServiceProcess(settings | dict(changes), program="bos")


@dataclass
class Journal:
    """All that was sent about batches, by topic.

    What BOS sends stands in the order in which it was read, and before what follows from it: the
    outcomes that neighbours send are entered before they are sent.
    """

    records: list[tuple[str, dict[str, Any], bytes]] = field(default_factory=list)

    def commands(self, batch: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the commands of a batch: phase and envelope."""
        return [
            (COMMANDS[topic], envelope)
            for topic, envelope, _ in self.records
            if topic in COMMANDS and envelope["data"]["entity_id"] == batch
        ]

    def completions(self, batch: str) -> list[dict[str, Any]]:
        """Return the ends of the runs of a batch."""
        return [
            envelope
            for topic, envelope, _ in self.records
            if topic == COMPLETED and envelope["data"]["batch_id"] == batch
        ]

    def texts(self, batch: str, phase: str) -> dict[str, str]:
        """Return the texts of the last command of a phase, by essay."""
        envelope = [one for name, one in self.commands(batch) if name == phase][-1]
        return {
            essay["essay_id"]: essay["text_storage_id"]
            for essay in envelope["data"]["essays_to_process"]
        }

    @property
    def sent_by_bos(self) -> list[bytes]:
        """What BOS has sent, in the order in which it was read."""
        return [raw for topic, _, raw in self.records if topic in COMMANDS or topic == COMPLETED]


class Neighbours:
    """ELS, the spellchecker and CJ: they hear commands, and say how phases ended.

    `failing` has the essays that fail in a phase, `missing` those that its outcome does not name; a
    phase in `silent` gets no outcome, one in `critical` fails as a whole.
    """

    def __init__(self, producer: AIOKafkaProducer, journal: Journal) -> None:
        self._producer = producer
        self.journal = journal
        self.failing: dict[str, frozenset[str]] = {}
        self.missing: dict[str, frozenset[str]] = {}
        self.silent: set[str] = set()
        self.critical: set[str] = set()

    async def register(self, batch: str, essays: Sequence[str], user: str = "teacher") -> None:
        """Have a class's batch registered, and its essays ready."""
        await self._send(
            REGISTERED,
            batch,
            {
                "event": "batch.essays.registered",
                "entity_id": batch,
                "expected_essay_count": len(essays),
                "essay_ids": list(essays),
                "course_code": "ENG5",
                "user_id": user,
                "class_id": "class-1",
            },
        )
        await self.make_ready(batch, {one: f"original-{one}" for one in essays})

    async def make_ready(self, batch: str, texts: Mapping[str, str]) -> None:
        """Have these essays of a batch there, with their texts."""
        ready = [{"essay_id": one, "text_storage_id": text} for one, text in texts.items()]
        await self._send(
            READY,
            batch,
            {
                "event": "batch.essays.ready",
                "batch_id": batch,
                "ready_essays": ready,
                "course_code": "ENG5",
                "course_language": "en",
                "class_type": "REGULAR",
            },
        )

    async def request(self, batch: str, pipeline: str, **changes: Any) -> str:
        """Ask for a pipeline as the gateway does; return the request's id."""
        data = {
            "batch_id": batch,
            "requested_pipeline": pipeline,
            "client_correlation_id": str(uuid.uuid4()),
            "user_id": "teacher",
            "is_retry": False,
            "request_id": str(uuid.uuid4()),
        } | changes
        await self._send(REQUESTS, batch, data)
        return str(data["request_id"])

    async def hear(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        """Keep what was sent, and do what a command asks for."""
        envelope = json.loads(record.value)
        self.journal.records.append((record.topic, envelope, record.value))
        phase = COMMANDS.get(record.topic)
        if phase is not None and phase not in self.silent:
            await self.answer(phase, envelope)

    async def answer(self, phase: str, command: Mapping[str, Any]) -> None:
        """Say how the phase ended for the essays of the command."""
        batch = command["data"]["entity_id"]
        asked = [
            one["essay_id"]
            for one in command["data"]["essays_to_process"]
            if one["essay_id"] not in self.missing.get(phase, frozenset())
        ]
        failed = [one for one in asked if one in self.failing.get(phase, frozenset())]
        done = [one for one in asked if one not in failed]
        if phase == "spellcheck":
            for essay in asked:
                await self._spellchecked(batch, essay, is_good=essay in done)
        if phase == "cj_assessment":
            await self._assessed(batch, done, failed)
        status = "completed_with_failures" if failed else "completed_successfully"
        await self._send(
            OUTCOMES,
            batch,
            {
                "batch_id": batch,
                "phase_name": phase,
                "phase_status": "failed_critically" if phase in self.critical else status,
                "processed_essays": [
                    {
                        "essay_id": one,
                        "text_storage_id": f"corrected-{one}" if phase == "spellcheck" else None,
                    }
                    for one in done
                ],
                "failed_essay_ids": failed,
                "correlation_id": command["correlation_id"],
            },
            correlation_id=command["correlation_id"],
        )

    async def _spellchecked(self, batch: str, essay: str, *, is_good: bool) -> None:
        data = {
            "entity_id": essay,
            "batch_id": batch,
            "correlation_id": str(uuid.uuid4()),
            "status": "completed" if is_good else "failed",
            "corrected_text_storage_id": f"corrected-{essay}" if is_good else None,
            "processing_duration_ms": 1,
            "timestamp": datetime.now(UTC).isoformat(),
        }
        await self._send(SPELLCHECKED, essay, data)

    async def _assessed(self, batch: str, done: Sequence[str], failed: Sequence[str]) -> None:
        data = {
            "event_name": "cj_assessment.completed",
            "entity_id": batch,
            "entity_type": "batch",
            "timestamp": datetime.now(UTC).isoformat(),
            "status": "completed_successfully",
            "system_metadata": {},
            "cj_assessment_job_id": str(uuid.uuid4()),
            "processing_summary": {
                "total_essays": len(done) + len(failed),
                "successful": len(done),
                "failed": len(failed),
                "successful_essay_ids": list(done),
                "failed_essay_ids": list(failed),
                "processing_time_seconds": 1.0,
            },
        }
        await self._send(ASSESSED, batch, data)

    async def _send(
        self, topic: str, key: str, data: Mapping[str, Any], *, correlation_id: str | None = None
    ) -> None:
        envelope = {
            "event_id": str(uuid.uuid4()),
            "event_type": topic,
            "event_timestamp": datetime.now(UTC).isoformat(),
            "source_service": "a neighbour",
            "schema_version": 1,
            "correlation_id": correlation_id or str(uuid.uuid4()),
            "data": data,
        }
        value = json.dumps(envelope).encode()
        if topic == OUTCOMES:
            self.journal.records.append((topic, envelope, value))
        await self._producer.send_and_wait(topic, value, key=key.encode())


@asynccontextmanager
async def neighbours_of(stack: Stack) -> AsyncIterator[Neighbours]:
    """Play the neighbours until the end of the block."""
    servers = stack.kafka_bootstrap_servers
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    consumer = AIOKafkaConsumer(
        *COMMANDS, COMPLETED, bootstrap_servers=servers, auto_offset_reset="latest"
    )
    await producer.start()
    await consumer.start()
    neighbours = Neighbours(producer, Journal())

    async def listen() -> None:
        async for record in consumer:
            await neighbours.hear(record)

    listening = asyncio.create_task(listen())
    try:
        yield neighbours
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await consumer.stop()
        await producer.stop()


async def get_state(address: str, batch: str) -> dict[str, Any]:
    """Return the runs of a batch, empty where BOS has none of it."""
    async with httpx.AsyncClient(timeout=30) as client:
        response = await client.get(f"{address}/internal/v1/batches/{batch}/pipeline-state")
    state: dict[str, Any] = response.json()
    return state if response.status_code == httpx.codes.OK else {"runs": []}
