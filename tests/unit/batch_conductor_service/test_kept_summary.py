"""A summary is read as it was written, or not at all."""

import json

import pytest

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.implementations.redis.summary import (
    KeptSummary,
    decode_summary,
    encode_summary,
)
from batch_conductor_service.models import BatchId, StepName
from tests.support.builders import evidence, minutes, outcome, registration, update
from tests.support.pipelines import DEPENDENCIES


def kept() -> KeptSummary:
    state = BatchState(BatchId("batch"))
    said = evidence("essay-1", at=minutes(1)), evidence("essay-2", "failed", minutes(2))
    state.merge(update("batch", registration(2), *said, outcome(step="cj_assessment")))
    return KeptSummary(
        summary=state.summarise(DEPENDENCIES), server_run="run", dependencies=DEPENDENCIES.version
    )


def test_what_was_kept_is_read() -> None:
    assert decode_summary(encode_summary(kept())) == kept()


@pytest.mark.parametrize("step", ["spellcheck", "cj_assessment"])
@pytest.mark.parametrize("field", ["failed", "outdated", "unreadable", "refuted_at", "outcome"])
def test_a_field_that_is_left_out_is_not_taken_for_nothing(step: StepName, field: str) -> None:
    """A failure would be hidden."""
    whole = json.loads(encode_summary(kept()))
    del whole["summary"]["steps"][step][field]

    assert decode_summary(json.dumps(whole, separators=(",", ":"))) is None


def test_a_summary_of_another_version_is_made_again() -> None:
    text = encode_summary(kept()).replace('"version":2', '"version":3')

    assert decode_summary(text) is None


def test_what_is_nested_without_end_is_made_again() -> None:
    assert decode_summary('{"unknown": ' + "[" * 100_000 + "]" * 100_000 + "}") is None
