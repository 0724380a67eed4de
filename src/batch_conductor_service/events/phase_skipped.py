"""How an event says that a phase was skipped."""

import orjson

from batch_conductor_service.domain.resolution import SkippedPhase
from common_core.topics import EventName, topic_name

SOURCE_SERVICE = "batch_conductor_service"
EVENT = "batch.phase.skipped"
SKIP_REASON = "already_completed"


def encode_phase_skipped(phase: SkippedPhase) -> bytes:
    """Return the value of the record: envelope and data."""
    timestamp = phase.skipped_at.isoformat()
    return orjson.dumps(
        {
            "event_id": str(phase.event_id),
            "event_type": topic_name(EventName.PHASE_SKIPPED),
            "event_timestamp": timestamp,
            "source_service": SOURCE_SERVICE,
            "schema_version": 1,
            "correlation_id": str(phase.correlation_uuid),
            "data_schema_uri": None,
            "data": {
                "event": EVENT,
                "batch_id": phase.batch_id,
                "phase_name": phase.step,
                "skip_reason": SKIP_REASON,
                "storage_id": None,  # a phase of many essays has as many outputs
                "correlation_id": phase.correlation_id,
                "metadata": {
                    "entity_id": phase.batch_id,
                    "entity_type": "batch",
                    "timestamp": timestamp,
                    "event": EVENT,
                },
            },
            "metadata": None,
        }
    )
