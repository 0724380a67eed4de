import json
from uuid import UUID

import pytest

from batch_conductor_service.domain.resolution import Resolution, ResolutionRequest, SkippedPhase
from batch_conductor_service.events.phase_skipped import encode_phase_skipped
from batch_conductor_service.implementations.kafka.skip_events import KafkaSkipEventPublisher
from batch_conductor_service.models import BatchCompletionSummary, BatchId, StepName
from batch_conductor_service.resolving.announcing import skipped_phases
from batch_conductor_service.resolving.pipeline_resolution import DefaultPipelineRules
from tests.support.builders import DAY, minutes
from tests.support.pipelines import pipeline
from tests.support.summaries import all_complete

CORRELATION = "0b8f0a52-9d4f-4a51-8a3a-6a3a1d2c4e10"


def resolution(
    *, correlation_id: str = CORRELATION, batch: str = "batch", complete: bool = True
) -> Resolution:
    both = pipeline({"spellcheck": [], "nlp": ["spellcheck"]})
    summary = BatchCompletionSummary(batch_id=BatchId(batch))
    if complete:
        summary = all_complete(batch, "spellcheck", "nlp")
    return Resolution(
        request=ResolutionRequest(
            batch_id=BatchId(batch), requested_pipeline="both", correlation_id=correlation_id
        ),
        pipeline=both,
        phases=DefaultPipelineRules().prune_completed_steps(both.ordered, summary),
        is_degraded=False,
    )


def events(answer: Resolution, at: float = 0) -> list[SkippedPhase]:
    return skipped_phases(answer, minutes(at))


def test_each_skipped_phase_is_told_once_in_order() -> None:
    assert [event.step for event in events(resolution())] == ["spellcheck", "nlp"]
    assert events(resolution(complete=False)) == []


def test_the_event_is_that_of_the_contract() -> None:
    event = events(resolution())[0]

    assert KafkaSkipEventPublisher.topic == "huleedu.batch.phase.skipped.v1"
    assert event.step == StepName("spellcheck")
    assert json.loads(encode_phase_skipped(event)) == {
        "event_id": str(event.event_id),
        "event_type": "huleedu.batch.phase.skipped.v1",
        "event_timestamp": f"{DAY}T12:00:00+00:00",
        "source_service": "batch_conductor_service",
        "schema_version": 1,
        "correlation_id": CORRELATION,
        "data_schema_uri": None,
        "data": {
            "event": "batch.phase.skipped",
            "batch_id": "batch",
            "phase_name": "spellcheck",
            "skip_reason": "already_completed",
            "storage_id": None,
            "correlation_id": CORRELATION,
            "metadata": {
                "entity_id": "batch",
                "entity_type": "batch",
                "timestamp": f"{DAY}T12:00:00+00:00",
                "event": "batch.phase.skipped",
            },
        },
        "metadata": None,
    }


def test_the_same_resolution_repeated_later_carries_the_same_event_ids() -> None:
    first, again = events(resolution()), events(resolution(), at=5)

    assert [event.event_id for event in first] == [event.event_id for event in again]
    assert len({event.event_id for event in first}) == 2


@pytest.mark.parametrize("spelt", [CORRELATION.upper(), CORRELATION.replace("-", "")])
def test_a_uuid_spelt_otherwise_carries_the_same_event_ids(spelt: str) -> None:
    assert [event.event_id for event in events(resolution(correlation_id=spelt))] == [
        event.event_id for event in events(resolution())
    ]


def test_another_batch_or_correlation_id_makes_another_event_id() -> None:
    ids = {
        events(resolution())[0].event_id,
        events(resolution(batch="other"))[0].event_id,
        events(resolution(correlation_id="other"))[0].event_id,
    }

    assert len(ids) == 3


def test_a_correlation_id_that_is_no_uuid_is_kept_as_text_beside_a_uuid_of_it() -> None:
    first, again = (
        json.loads(encode_phase_skipped(events(resolution(correlation_id="request 7"))[0]))
        for _ in range(2)
    )

    assert first["data"]["correlation_id"] == "request 7"
    assert UUID(first["correlation_id"]).version == 5
    assert first["correlation_id"] == again["correlation_id"]
