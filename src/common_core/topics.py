"""The names of the events and of their topics. No topic string stands anywhere else."""

from collections.abc import Mapping
from enum import StrEnum


class EventName(StrEnum):
    """The events between the services, named as their senders name the class."""

    SPELLCHECK_PHASE_COMPLETED = "SpellcheckPhaseCompletedV1"
    CJ_ASSESSMENT_COMPLETED = "CJAssessmentCompletedV1"
    ELS_BATCH_PHASE_OUTCOME = "ELSBatchPhaseOutcomeV1"
    BATCH_ESSAYS_REGISTERED = "BatchEssaysRegistered"
    PHASE_SKIPPED = "PhaseSkippedV1"
    CLIENT_BATCH_PIPELINE_REQUEST = "ClientBatchPipelineRequestV1"
    BATCH_ESSAYS_READY = "BatchEssaysReady"
    BATCH_CONTENT_PROVISIONING_COMPLETED = "BatchContentProvisioningCompletedV1"
    BATCH_PIPELINE_COMPLETED = "BatchPipelineCompletedV1"


CONSUMED_EVENTS = (
    EventName.SPELLCHECK_PHASE_COMPLETED,
    EventName.CJ_ASSESSMENT_COMPLETED,
    EventName.ELS_BATCH_PHASE_OUTCOME,
    EventName.BATCH_ESSAYS_REGISTERED,
)

# What dead letters without a consumed record are filed under.
RESOLUTION_BASE_TOPIC = "huleedu.pipelines.resolution"
PERSISTENCE_BASE_TOPIC = "huleedu.bcs.persistence"

_TOPICS: Mapping[EventName, str] = {
    EventName.SPELLCHECK_PHASE_COMPLETED: "huleedu.batch.spellcheck.phase.completed.v1",
    EventName.CJ_ASSESSMENT_COMPLETED: "huleedu.cj_assessment.completed.v1",
    EventName.ELS_BATCH_PHASE_OUTCOME: "huleedu.els.batch.phase.outcome.v1",
    EventName.BATCH_ESSAYS_REGISTERED: "huleedu.batch.essays.registered.v1",
    EventName.PHASE_SKIPPED: "huleedu.batch.phase.skipped.v1",
    EventName.CLIENT_BATCH_PIPELINE_REQUEST: "huleedu.commands.batch.pipeline.v1",
    EventName.BATCH_ESSAYS_READY: "huleedu.els.batch.essays.ready.v1",
    EventName.BATCH_CONTENT_PROVISIONING_COMPLETED: (
        "huleedu.batch.content.provisioning.completed.v1"
    ),
    EventName.BATCH_PIPELINE_COMPLETED: "huleedu.batch.pipeline.completed.v1",
}
_EVENTS: Mapping[str, EventName] = {topic: event for event, topic in _TOPICS.items()}


def topic_name(event: EventName) -> str:
    """Return the topic of the event."""
    return _TOPICS[event]


def find_event(topic: str) -> EventName | None:
    """Return the event of the topic, if it is one of ours."""
    return _EVENTS.get(topic)


def consumed_topics() -> tuple[str, ...]:
    """Return the topics that BCS consumes."""
    return tuple(topic_name(event) for event in CONSUMED_EVENTS)


def dlq_topic_name(base_topic: str) -> str:
    """Return the topic for the dead letters of a topic, or of another base."""
    return f"{base_topic}.DLQ"
