"""A poll handler of BOS over a store in memory, and records as its neighbours send them."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from batch_orchestrator_service.consuming.handling import PollHandler
from common_core.topics import EventName, topic_name
from service_libs.exceptions import StoreUnavailableError
from service_libs.kafka.policy import DeadLetterLimit
from service_libs.kafka.records import ConsumedRecord
from tests.support.bos import Orchestra
from tests.support.consuming import ControlledDlq
from tests.support.orchestrating import named


class Handled:
    """A poll handler over a store in memory."""

    def __init__(self, limit: DeadLetterLimit | None = None) -> None:
        self.one = Orchestra()
        self.dlq = ControlledDlq()
        self.tries = 0
        self.offset = 0
        self.handler = PollHandler(
            self.one.requests,
            self.one.facts,
            self.dlq,
            self.one.metrics,
            group_id="group",
            limit=limit,
        )

    def record(self, event: EventName, data: dict[str, Any], **changes: object) -> ConsumedRecord:
        """Return a record as a neighbour sends it."""
        envelope = {
            "event_id": str(named("event")),
            "event_type": topic_name(event),
            "event_timestamp": "2026-01-31T12:00:00Z",
            "source_service": "a neighbour",
            "schema_version": 1,
            "correlation_id": str(named("envelope")),
            "data": data,
        } | changes
        return self.raw(event, json.dumps(envelope).encode())

    def raw(self, event: EventName, value: bytes) -> ConsumedRecord:
        """Return a record with this value."""
        self.offset += 1
        return ConsumedRecord(topic_name(event), 0, self.offset, 0, b"batch-1", value)

    def request(self, **changes: Any) -> ConsumedRecord:
        """Return a client's request."""
        data = {
            "batch_id": "batch-1",
            "requested_pipeline": "nlp",
            "client_correlation_id": str(named("client")),
            "user_id": "teacher",
        }
        return self.record(EventName.CLIENT_BATCH_PIPELINE_REQUEST, data | changes)

    async def handle(self, *records: ConsumedRecord) -> None:
        """Handle a poll; what is unavailable is tried again at once."""
        await self.handler.handle(records, self._until_available)

    async def _until_available(self, attempt: Callable[[], Awaitable[None]]) -> None:
        while True:
            self.tries += 1
            try:
                return await attempt()
            except StoreUnavailableError:
                continue


REGISTERED = {
    "event": "batch.essays.registered",
    "entity_id": "batch-1",
    "expected_essay_count": 2,
    "essay_ids": ["e1", "e2"],
    "course_code": "ENG5",
    "user_id": "teacher",
    "class_id": "class-1",
    "org_id": None,
    "metadata": {"anything": 1},
}
READY = {
    "event": "batch.essays.ready",
    "batch_id": "batch-1",
    "ready_essays": [{"essay_id": "e1", "text_storage_id": "t1"}],
    "course_language": "en",
    "class_type": "REGULAR",
    "metadata": {},
}
PROVISIONED = {
    "event": "batch.content.provisioning.completed",
    "batch_id": "batch-1",
    "provisioned_count": 1,
    "expected_count": 2,
    "course_code": "ENG5",
    "user_id": "guest",
    "essays_for_processing": [{"essay_id": "e1", "text_storage_id": "t1"}],
    "correlation_id": str(named("c")),
    "timestamp": "2026-01-31T12:00:00Z",
}
OUTCOME = {
    "batch_id": "batch-1",
    "phase_name": "spellcheck",
    "phase_status": "completed_successfully",
    "processed_essays": [{"essay_id": "e1", "text_storage_id": "c1"}],
    "failed_essay_ids": [],
    "correlation_id": str(named("client")),
}
