from common_core.topics import (
    CONSUMED_EVENTS,
    PERSISTENCE_BASE_TOPIC,
    RESOLUTION_BASE_TOPIC,
    EventName,
    consumed_topics,
    dlq_topic_name,
    find_event,
    topic_name,
)


def test_topics_are_those_of_the_contract() -> None:
    assert {event.value: topic_name(event) for event in EventName} == {
        "SpellcheckPhaseCompletedV1": "huleedu.batch.spellcheck.phase.completed.v1",
        "CJAssessmentCompletedV1": "huleedu.cj_assessment.completed.v1",
        "ELSBatchPhaseOutcomeV1": "huleedu.els.batch.phase.outcome.v1",
        "BatchEssaysRegistered": "huleedu.batch.essays.registered.v1",
        "PhaseSkippedV1": "huleedu.batch.phase.skipped.v1",
        "ClientBatchPipelineRequestV1": "huleedu.commands.batch.pipeline.v1",
        "BatchEssaysReady": "huleedu.els.batch.essays.ready.v1",
        "BatchContentProvisioningCompletedV1": "huleedu.batch.content.provisioning.completed.v1",
        "BatchPipelineCompletedV1": "huleedu.batch.pipeline.completed.v1",
    }


def test_what_bcs_consumes_leads_back_to_its_events() -> None:
    assert [find_event(topic) for topic in consumed_topics()] == list(CONSUMED_EVENTS)


def test_a_strange_topic_has_no_event() -> None:
    assert find_event("huleedu.other.v1") is None


def test_dead_letter_topics_are_named_after_their_base() -> None:
    bases = [topic_name(EventName.BATCH_ESSAYS_REGISTERED)]
    bases += [RESOLUTION_BASE_TOPIC, PERSISTENCE_BASE_TOPIC]

    assert [dlq_topic_name(base) for base in bases] == [
        "huleedu.batch.essays.registered.v1.DLQ",
        "huleedu.pipelines.resolution.DLQ",
        "huleedu.bcs.persistence.DLQ",
    ]
