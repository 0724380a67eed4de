"""The events that BOS consumes."""

from collections.abc import Mapping

from common_core.events import ELSBatchPhaseOutcomeV1
from common_core.flow import (
    BatchContentProvisioningCompletedV1,
    BatchEssaysReady,
    BatchRegistered,
    ClientBatchPipelineRequestV1,
)
from common_core.topics import EventName, topic_name
from service_libs.decoding import Decoded, decode

ConsumedData = (
    ClientBatchPipelineRequestV1
    | BatchRegistered
    | BatchEssaysReady
    | BatchContentProvisioningCompletedV1
    | ELSBatchPhaseOutcomeV1
)
DecodedEvent = Decoded[ConsumedData]

DATA_MODELS: Mapping[EventName, type[ConsumedData]] = {
    EventName.CLIENT_BATCH_PIPELINE_REQUEST: ClientBatchPipelineRequestV1,
    EventName.BATCH_ESSAYS_REGISTERED: BatchRegistered,
    EventName.BATCH_ESSAYS_READY: BatchEssaysReady,
    EventName.BATCH_CONTENT_PROVISIONING_COMPLETED: BatchContentProvisioningCompletedV1,
    EventName.ELS_BATCH_PHASE_OUTCOME: ELSBatchPhaseOutcomeV1,
}


def decode_event(topic: str, payload: bytes | None) -> DecodedEvent:
    """Return the event that the topic promises.

    Raises:
        InvalidMessageError: the payload is not one; its `reason` is an `InvalidReason`.
    """
    return decode(topic, payload, DATA_MODELS)


def consumed_topics() -> tuple[str, ...]:
    """Return the topics that BOS consumes."""
    return tuple(map(topic_name, DATA_MODELS))
