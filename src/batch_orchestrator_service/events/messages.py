"""What BOS sends, as bytes. Pure: the same message is always the same bytes.

They are made once, stored with the state, and sent as they were stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from batch_orchestrator_service.domain.advancing import Command, Completion, Message
from batch_orchestrator_service.domain.models import Batch, Run
from common_core.topics import EventName, topic_name

SOURCE_SERVICE = "batch-orchestrator-service"
COMPLETION_EVENT = "batch.pipeline.completed"
ENTITY_TYPE = "batch"
LANGUAGES = {"ENG": "en", "SV": "sv"}  # by what a course's code begins with
DEFAULT_LANGUAGE = "en"

_EVENT_NAMES = {
    "nlp": "batch.nlp.initiate.command.v2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMessage:
    """A message ready to be sent, with the id by which its receivers know it."""

    message_id: UUID
    run_id: UUID
    phase: str | None  # of a command
    topic: str
    key: bytes
    value: bytes
    number: int = 0  # in the order in which they were saved


def to_outgoing(message: Message, batch: Batch, now: datetime) -> OutgoingMessage:
    """Return the message as it is stored and sent."""
    if isinstance(message, Command):
        topic, data = message.phase.event_type, _command_data(message, batch, now)
    else:
        topic = topic_name(EventName.BATCH_PIPELINE_COMPLETED)
        data = _completion_data(message, batch, now)
    envelope = {
        "event_id": str(message.message_id),
        "event_type": topic,
        "event_timestamp": now.isoformat(),
        "source_service": SOURCE_SERVICE,
        "schema_version": 1,
        "correlation_id": str(message.run.correlation_id),
        "data_schema_uri": None,
        "data": data,
        "metadata": {"client_correlation_id": str(message.run.client_correlation_id)},
    }
    return OutgoingMessage(
        message_id=message.message_id,
        run_id=message.run.run_id,
        phase=message.phase.name if isinstance(message, Command) else None,
        topic=topic,
        key=batch.batch_id.encode(),
        value=orjson.dumps(envelope),
    )


def _command_data(command: Command, batch: Batch, now: datetime) -> dict[str, Any]:
    phase, run = command.phase.name, command.run
    return {
        "event_name": _EVENT_NAMES.get(phase, f"batch.{phase}.initiate.command"),
        "entity_id": batch.batch_id,
        "entity_type": ENTITY_TYPE,
        "parent_id": None,
        "timestamp": now.isoformat(),
        "essays_to_process": [
            {"essay_id": essay, "text_storage_id": text} for essay, text in command.texts.items()
        ],
        "language": language_of(batch.course_code),
        **_of_phase(phase, run, batch),
    }


def _of_phase(phase: str, run: Run, batch: Batch) -> Mapping[str, Any]:
    """Return what only the commands of some phases have."""
    prompt_ref = run.prompt.cms_prompt_ref or batch.prompt_ref
    class_type = "GUEST" if batch.is_guest else "REGULAR"
    match phase:
        case "nlp":
            return {"student_prompt_ref": prompt_ref}
        case "ai_feedback":
            return {
                "course_code": batch.course_code,
                "student_prompt_ref": prompt_ref,
                "class_type": class_type,
                "owner_user_id": batch.user_id,
            }
        case "cj_assessment":
            return {
                "course_code": batch.course_code,
                "student_prompt_ref": prompt_ref,
                "class_type": class_type,
                "assignment_id": run.prompt.assignment_id,
            }
    return {}


def _completion_data(completion: Completion, batch: Batch, now: datetime) -> dict[str, Any]:
    run = completion.run
    began = run.started_at or run.accepted_at
    return {
        "event": COMPLETION_EVENT,
        "batch_id": batch.batch_id,
        "completed_phases": list(completion.completed_phases),
        "final_status": completion.status,
        "processing_duration_seconds": round((now - began).total_seconds(), 3),
        "successful_essay_count": completion.successful,
        "failed_essay_count": completion.failed,
        "correlation_id": str(run.correlation_id),
        "metadata": {
            "entity_id": batch.batch_id,
            "entity_type": ENTITY_TYPE,
            "timestamp": now.isoformat(),
            "event": COMPLETION_EVENT,
            "requested_pipeline": run.pipeline,
            "client_correlation_id": str(run.client_correlation_id),
        },
    }


def language_of(course_code: str) -> str:
    """Return the language of a course; of one whose code does not say, English."""
    for prefix, language in LANGUAGES.items():
        if course_code.upper().startswith(prefix):
            return language
    return DEFAULT_LANGUAGE
