"""The events that BCS consumes, and what a record is about that cannot be read.

Such a record may have been a failure, so what it is about must run again. It is read past every
rule but that of identifiers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from common_core.events import (
    BatchEssaysRegistered,
    CJAssessmentCompletedV1,
    ELSBatchPhaseOutcomeV1,
    EventData,
    SpellcheckPhaseCompletedV1,
)
from common_core.fields import is_identifier
from common_core.topics import EventName, find_event
from service_libs.decoding import Decoded

DATA_MODELS: Mapping[EventName, type[EventData]] = {
    EventName.SPELLCHECK_PHASE_COMPLETED: SpellcheckPhaseCompletedV1,
    EventName.CJ_ASSESSMENT_COMPLETED: CJAssessmentCompletedV1,
    EventName.ELS_BATCH_PHASE_OUTCOME: ELSBatchPhaseOutcomeV1,
    EventName.BATCH_ESSAYS_REGISTERED: BatchEssaysRegistered,
}
DecodedEvent = Decoded[EventData]

_BATCH_FIELDS: Mapping[EventName, str] = {
    EventName.SPELLCHECK_PHASE_COMPLETED: "batch_id",
    EventName.CJ_ASSESSMENT_COMPLETED: "entity_id",
    EventName.ELS_BATCH_PHASE_OUTCOME: "batch_id",
    EventName.BATCH_ESSAYS_REGISTERED: "entity_id",
}
_KEYED_BY_ESSAY = frozenset({EventName.SPELLCHECK_PHASE_COMPLETED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSubject:
    """What an unreadable record is about; `essay_id` and `phase_name` where they can be seen."""

    event: EventName
    batch_id: str
    essay_id: str | None = None
    phase_name: str | None = None


def find_subject(topic: str, key: bytes | None, value: bytes | None) -> RecordSubject | None:
    """Return what the record is about, or None where not even its batch can be seen."""
    event = find_event(topic)
    field = _BATCH_FIELDS.get(event) if event else None
    if event is None or field is None:
        return None
    data = _data_of(value)
    batch_id = _identifier(data.get(field))
    if batch_id is None and event not in _KEYED_BY_ESSAY:
        batch_id = _identifier((key or b"").decode(errors="replace"))
    if batch_id is None:
        return None
    is_of_essay = event is EventName.SPELLCHECK_PHASE_COMPLETED
    is_outcome = event is EventName.ELS_BATCH_PHASE_OUTCOME
    return RecordSubject(
        event=event,
        batch_id=batch_id,
        essay_id=_identifier(data.get("entity_id")) if is_of_essay else None,
        phase_name=_identifier(data.get("phase_name")) if is_outcome else None,
    )


def _data_of(value: bytes | None) -> Mapping[str, Any]:
    try:
        envelope = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    data = envelope.get("data") if isinstance(envelope, dict) else None
    return data if isinstance(data, dict) else {}


def _identifier(text: object) -> str | None:
    return text if isinstance(text, str) and is_identifier(text) else None
