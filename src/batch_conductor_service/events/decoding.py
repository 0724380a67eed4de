"""The events that BCS consumes, from a record's bytes to what their senders meant."""

from collections.abc import Mapping

from common_core.events import (
    BatchEssaysRegistered,
    CJAssessmentCompletedV1,
    ELSBatchPhaseOutcomeV1,
    EventData,
    SpellcheckPhaseCompletedV1,
)
from common_core.topics import EventName
from service_libs.decoding import Decoded, decode

DATA_MODELS: Mapping[EventName, type[EventData]] = {
    EventName.SPELLCHECK_PHASE_COMPLETED: SpellcheckPhaseCompletedV1,
    EventName.CJ_ASSESSMENT_COMPLETED: CJAssessmentCompletedV1,
    EventName.ELS_BATCH_PHASE_OUTCOME: ELSBatchPhaseOutcomeV1,
    EventName.BATCH_ESSAYS_REGISTERED: BatchEssaysRegistered,
}

DecodedEvent = Decoded[EventData]


def decode_event(topic: str, payload: bytes | None) -> DecodedEvent:
    """Return the event that the topic promises.

    Raises:
        InvalidMessageError: the payload is not one; its `reason` is an `InvalidReason`.
    """
    return decode(topic, payload, DATA_MODELS)
