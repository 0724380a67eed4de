"""Random histories of one batch: few essays, few times, so that everything collides."""

from collections.abc import Sequence
from datetime import datetime

from hypothesis import strategies as st

from batch_conductor_service.models import OWN_PREFIX, UNREADABLE, BatchUpdate
from tests.support.builders import (
    essay_names,
    evidence,
    minutes,
    outcome,
    registration,
    reported,
    update,
)

ESSAYS = essay_names(4)
STEPS = ("spellcheck", "nlp")
WHOLE = "cj_assessment"
TIMES = st.integers(0, 5).map(minutes)
STORAGE_IDS = st.sampled_from([None, "a", "b", "Ä"])

observations = st.builds(
    evidence,
    st.sampled_from([*ESSAYS, "stranger"]),
    st.sampled_from(["completed", "completed", "failed", "pending"]),
    TIMES,
    step=st.sampled_from(STEPS),
    storage_id=STORAGE_IDS,
).map(lambda item: update("batch", item))


def _registered(total: int, at: datetime, essays: Sequence[str]) -> BatchUpdate:
    return update("batch", registration(max(total, len(essays)), at, essays=essays))


registrations = st.builds(
    _registered,
    st.integers(0, 4),
    TIMES,
    st.sampled_from([(), ESSAYS[:2], ESSAYS[:3], ESSAYS]),
)


def _unreadable(kind: int, essay: str, at: datetime) -> BatchUpdate:
    """A record that could not be read: of an essay, of a step, or a registration."""
    items = (
        evidence(essay, "pending", at, source=UNREADABLE),
        outcome("refutes", at, step="nlp", fingerprint=UNREADABLE),
        outcome("refutes", at, fingerprint=OWN_PREFIX + UNREADABLE),
        outcome("refutes", at, step=WHOLE, fingerprint=OWN_PREFIX + UNREADABLE),
        registration(0, at, fingerprint=UNREADABLE),
    )
    return update("batch", items[kind])


unreadable = st.builds(_unreadable, st.integers(0, 4), st.sampled_from(ESSAYS), TIMES)


def _reports(at: datetime) -> list[BatchUpdate]:
    """Every report there is: its fingerprint stands for its content, its time may be a copy's."""
    contents = [
        reported(ESSAYS, at, fingerprint="all"),
        reported(ESSAYS[:2], at, failed=ESSAYS[2:3], fingerprint="partly"),
        reported(ESSAYS[1:], at, step="nlp", fingerprint="most"),
        reported((), at, step="nlp", verdict="reports", fingerprint="nobody"),
        reported((), at, verdict="refutes", fingerprint="critical"),
        reported(ESSAYS[:1], at, step="nlp", verdict="refutes", fingerprint="one"),
        reported(ESSAYS, at, step=WHOLE, fingerprint="own:all"),
        reported(ESSAYS[:3], at, step=WHOLE, fingerprint="own:most"),
        reported(ESSAYS, at, step=WHOLE, fingerprint="whole"),
        reported(ESSAYS[:3], at, step=WHOLE, failed=ESSAYS[3:], fingerprint="own:partly"),
    ]
    not_believed = [evidence(ESSAYS[0], "pending", at, source="all?")]
    doubted = outcome("partial", at, total=4, fingerprint="all?")
    return [
        *(update("batch", *items) for items in contents),
        update("batch", *not_believed, doubted),
    ]


@st.composite
def phase_outcomes(draw: st.DrawFn) -> BatchUpdate:
    """One of the reports, at any time."""
    return draw(st.sampled_from(_reports(draw(TIMES))))


histories = st.lists(
    st.one_of(observations, observations, phase_outcomes(), registrations, unreadable), max_size=14
)
