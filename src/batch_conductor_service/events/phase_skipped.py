"""What neighbours hear of the phases that a resolution pruned. Pure."""

from dataclasses import dataclass
from datetime import datetime
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson

from batch_conductor_service.domain.resolution import Resolution
from batch_conductor_service.models import StepName
from common_core.topics import EventName, topic_name

SOURCE_SERVICE = "batch_conductor_service"
EVENT = "batch.phase.skipped"
SKIP_REASON = "already_completed"

_TOPIC = topic_name(EventName.PHASE_SKIPPED)
_NAMESPACE = uuid5(NAMESPACE_URL, _TOPIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingEvent:
    """An event ready to be sent."""

    topic: str
    key: bytes
    value: bytes
    event_id: UUID
    step: StepName


def phase_skipped_events(resolution: Resolution, now: datetime) -> list[OutgoingEvent]:
    """Return one event for each pruned phase.

    The event id follows from batch, phase and correlation id, however a UUID is spelt there, so
    that whoever hears of a repeated resolution can drop it.
    """
    return [_event(resolution, step, now) for step in resolution.skipped]


def _event(resolution: Resolution, step: StepName, now: datetime) -> OutgoingEvent:
    request = resolution.request
    batch_id, correlation_id = request.batch_id, request.correlation_id
    event_id = _uuid_from(batch_id, step, _normalised(correlation_id))
    timestamp = now.isoformat()
    envelope = {
        "event_id": str(event_id),
        "event_type": _TOPIC,
        "event_timestamp": timestamp,
        "source_service": SOURCE_SERVICE,
        "schema_version": 1,
        "correlation_id": str(_as_uuid(correlation_id)),
        "data_schema_uri": None,
        "data": {
            "event": EVENT,
            "batch_id": batch_id,
            "phase_name": step,
            "skip_reason": SKIP_REASON,
            "storage_id": None,  # a phase of many essays has as many outputs
            "correlation_id": correlation_id,
            "metadata": {
                "entity_id": batch_id,
                "entity_type": "batch",
                "timestamp": timestamp,
                "event": EVENT,
            },
        },
        "metadata": None,
    }
    return OutgoingEvent(
        topic=_TOPIC,
        key=batch_id.encode(),
        value=orjson.dumps(envelope),
        event_id=event_id,
        step=step,
    )


def _as_uuid(correlation_id: str) -> UUID:
    """Return the correlation id as the UUID that envelopes demand."""
    return _parsed(correlation_id) or _uuid_from(correlation_id)


def _normalised(correlation_id: str) -> str:
    """Return a UUID in its one canonical spelling, anything else as it is."""
    return str(_parsed(correlation_id) or correlation_id)


def _parsed(correlation_id: str) -> UUID | None:
    try:
        return UUID(correlation_id)
    except ValueError:
        return None


def _uuid_from(*parts: str) -> UUID:
    return uuid5(_NAMESPACE, orjson.dumps(parts).decode())
