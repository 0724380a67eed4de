"""Random histories of one batch: few essays, few times, so that everything collides."""

from dataclasses import replace

from hypothesis import strategies as st

from batch_conductor_service.models import BatchUpdate
from tests.support.builders import essay_names, evidence, minutes, outcome, registration, update

ESSAYS = essay_names(4)
STEPS = ("spellcheck", "nlp")
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

registrations = st.builds(
    registration,
    st.integers(0, 4),
    TIMES,
    essays=st.sampled_from([(), ESSAYS[:2], ESSAYS[:3], ESSAYS]),
).map(lambda item: update("batch", replace(item, essays_total=len(item.essay_ids) or 3)))


@st.composite
def phase_outcomes(draw: st.DrawFn) -> BatchUpdate:
    """A report of a phase: its fingerprint stands for its content, its time may be a copy's."""
    number = draw(st.integers(0, 5))
    step, completed, failed = [
        ("spellcheck", ESSAYS, ()),
        ("spellcheck", ESSAYS[:2], ESSAYS[2:3]),
        ("nlp", ESSAYS[1:], ()),
        ("nlp", (), ()),
        ("spellcheck", (), ()),
        ("nlp", ESSAYS[:1], ()),
    ][number]
    at, print_ = draw(TIMES), f"fingerprint-{number}"
    verdicts = ("confirms", "partial", "confirms", "reports", "refutes", "refutes")
    verdict = verdicts[number]
    items = [
        evidence(e, at=at, step=step, source=print_, storage_id=f"{step}-{e}") for e in completed
    ]
    items += [evidence(e, "failed", at, step=step, source=print_) for e in failed]
    total = len(completed) + len(failed)
    return update("batch", *items, outcome(verdict, at, step=step, total=total, fingerprint=print_))


histories = st.lists(
    st.one_of(observations, observations, phase_outcomes(), registrations), max_size=14
)
