"""What a record that could not be read takes away, from its time on."""

from dataclasses import replace

import pytest

from batch_conductor_service.consuming.phase_tracking import to_unreadable_update
from batch_conductor_service.events.consumed import RecordSubject
from batch_conductor_service.models import (
    OWN_PREFIX,
    UNREADABLE,
    BatchUpdate,
    PhaseOutcome,
    StepName,
)
from common_core.records import RecordPosition
from common_core.topics import EventName
from tests.support.builders import evidence, minutes, outcome, registration, update


def unreadable(
    event: EventName, *, essay_id: str | None = None, phase_name: str | None = None
) -> BatchUpdate:
    """Return what an unreadable record of that event takes away."""
    subject = RecordSubject(event=event, batch_id="batch", essay_id=essay_id, phase_name=phase_name)
    steps = map(StepName, ("spellcheck", "nlp", "ai_feedback"))
    position = RecordPosition(topic="topic", partition=3, offset=7)
    return to_unreadable_update(subject, minutes(1), steps, position)


def refuted(step: str, *, is_own: bool = False) -> PhaseOutcome:
    fingerprint = OWN_PREFIX + UNREADABLE if is_own else UNREADABLE
    stated = outcome("refutes", minutes(1), step=step, fingerprint=fingerprint)
    return replace(stated, status=UNREADABLE)


class TestUnreadable:
    """What a record that could not be read takes away, from its time on."""

    def test_of_an_essay_its_step(self) -> None:
        said = evidence("essay", "pending", minutes(1), source=UNREADABLE)

        assert unreadable(EventName.SPELLCHECK_PHASE_COMPLETED, essay_id="essay") == update(
            "batch", said, position=("topic", 3, 7)
        )

    @pytest.mark.parametrize(
        ("event", "phase_name", "step"),
        [
            (EventName.SPELLCHECK_PHASE_COMPLETED, None, "spellcheck"),
            (EventName.CJ_ASSESSMENT_COMPLETED, None, "cj_assessment"),
            (EventName.ELS_BATCH_PHASE_OUTCOME, "nlp", "nlp"),
            (EventName.ELS_BATCH_PHASE_OUTCOME, "of-no-pipeline", "of-no-pipeline"),
        ],
    )
    def test_where_no_essay_is_seen_the_step(
        self, event: EventName, phase_name: str | None, step: str
    ) -> None:
        is_own = event is not EventName.ELS_BATCH_PHASE_OUTCOME

        assert unreadable(event, phase_name=phase_name) == update(
            "batch", refuted(step, is_own=is_own), position=("topic", 3, 7)
        )

    def test_where_no_step_is_seen_every_step(self) -> None:
        assert unreadable(EventName.ELS_BATCH_PHASE_OUTCOME) == update(
            "batch",
            *map(refuted, ("spellcheck", "nlp", "ai_feedback")),
            position=("topic", 3, 7),
        )

    def test_a_registration_says_of_none_that_its_essays_are_all_there_are(self) -> None:
        assert unreadable(EventName.BATCH_ESSAYS_REGISTERED) == update(
            "batch",
            registration(0, minutes(1), fingerprint=UNREADABLE),
            position=("topic", 3, 7),
        )
