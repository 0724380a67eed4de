"""How essays are counted: all together, or by the difference that one of them makes."""

from collections.abc import Sequence
from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.counting import (
    CountingRules,
    Difference,
    EssaySteps,
    tally_all,
    tally_essay,
    with_counts,
    with_differences,
)
from batch_conductor_service.models import (
    UNREADABLE,
    BatchCompletionSummary,
    BatchId,
    BatchRegistration,
    BatchUpdate,
    EssayEvidence,
    EssayId,
    PhaseOutcome,
    StepCompletionSummary,
    StepName,
)
from tests.support.builders import (
    essay_names,
    evidence,
    minutes,
    outcome,
    registration,
    reported,
    update,
)
from tests.support.fuzzing import tries
from tests.support.histories import histories
from tests.support.pipelines import DEPENDENCIES

SPELLCHECK, NLP, CJ_ASSESSMENT = map(StepName, ("spellcheck", "nlp", "cj_assessment"))
BATCH = BatchId("batch")
Item = EssayEvidence | PhaseOutcome | BatchRegistration


def state_of(*items: Item) -> BatchState:
    state = BatchState(BATCH)
    state.merge(update("batch", *items))
    return state


def counts(*items: Item, step: StepName = SPELLCHECK) -> StepCompletionSummary:
    return state_of(*items).summarise(DEPENDENCIES).steps[step]


def test_completed_failed_and_unreadable_essays_are_counted_apart() -> None:
    counted = counts(
        evidence("a"),
        evidence("b"),
        evidence("c", "failed"),
        evidence("d", "pending"),
        evidence("e", "pending", source=UNREADABLE),
        evidence("f", at=minutes(9), source="report"),
    )

    assert (counted.completed, counted.failed, counted.unreadable) == (3, 1, 1)
    assert (counted.last_observed_at, counted.last_completed_at) == (minutes(0), minutes(9))


@pytest.mark.parametrize(("again_at", "outdated"), [(0, 0), (1, 0), (2, 1)])
def test_an_essay_whose_prerequisite_completed_again_since_is_outdated(
    again_at: float, outdated: int
) -> None:
    made: list[Item] = [evidence(essay, at=minutes(1), step="nlp") for essay in ("a", "b")]
    checked: list[Item] = [evidence("a", at=minutes(again_at)), evidence("b")]

    assert counts(*made, *checked, step=NLP).outdated == outdated
    assert counts(*made, *checked).outdated == 0


def test_one_essay_s_rerun_does_not_hide_another_s() -> None:
    """The latest times of the two steps agree, and yet one essay is out of date."""
    items = [
        evidence("a", at=minutes(1), step="nlp"),
        evidence("b", at=minutes(5), step="nlp"),
        evidence("a", at=minutes(4)),
        evidence("b", at=minutes(4)),
    ]

    assert counts(*items, step=NLP).outdated == 1


def test_what_is_not_completed_is_not_outdated() -> None:
    items: list[Item] = [evidence("a", "failed", step="nlp"), evidence("a", at=minutes(5))]

    assert counts(*items, step=NLP).outdated == 0
    refuted = [*items, evidence("b", step="nlp"), outcome("refutes", minutes(1), step="nlp")]
    assert counts(*refuted, step=NLP).outdated == 0


def test_a_prerequisite_that_does_not_stand_is_not_newer() -> None:
    """Whether it runs again is a matter of its own; its time is none any more."""
    items: list[Item] = [
        evidence("a", at=minutes(1), step="nlp"),
        evidence("a", at=minutes(2)),
        outcome("refutes", minutes(3)),
    ]

    assert counts(*items, step=NLP).outdated == 0


def test_an_essay_is_covered_only_if_it_is_in_each_completion_that_counts() -> None:
    own = reported(["a", "b"], step="cj_assessment", fingerprint="own:1")
    told = reported(["b", "c"], minutes(1), step="cj_assessment", fingerprint="els")

    assert counts(*own, step=CJ_ASSESSMENT).covered == 2
    assert counts(*own, *told, step=CJ_ASSESSMENT).covered == 1
    assert counts(*reported(["a"])).covered == 0


@pytest.mark.parametrize(
    ("refuted", "step_unreadable", "batch_unreadable", "lost"),
    [
        (None, None, None, None),
        (1, None, None, 1),
        (None, 2, None, 2),
        (None, None, 3, 3),
        (3, 2, 1, 3),
        (1, 3, 2, 3),
    ],
)
def test_what_takes_completions_away_last_counts(
    refuted: float | None,
    step_unreadable: float | None,
    batch_unreadable: float | None,
    lost: float | None,
) -> None:
    step = StepCompletionSummary(refuted_at=time(refuted), unreadable_at=time(step_unreadable))
    summary = BatchCompletionSummary(
        batch_id=BATCH, unreadable_at=time(batch_unreadable), steps={SPELLCHECK: step}
    )

    rules = CountingRules(summary, DEPENDENCIES)
    assert rules[SPELLCHECK].lost_at == time(lost)
    assert rules[NLP].lost_at == time(batch_unreadable)


def time(count: float | None) -> datetime | None:
    return None if count is None else minutes(count)


class TestDifference:
    """After one essay's own event only what this essay adds is counted again."""

    def apply(self, known: Sequence[Item], item: EssayEvidence) -> BatchCompletionSummary | None:
        state = state_of(*known)
        after = BatchState(BATCH)
        after.merge(state.as_update())
        after.merge(update("batch", item))
        return counted_by_difference(state, after, item.essay_id)

    def test_it_is_what_counting_all_gives(self) -> None:
        known: list[Item] = [registration(2), evidence("a"), evidence("b", "failed")]
        item = evidence("b", at=minutes(1))

        summary = self.apply(known, item)

        assert summary == state_of(*known, item).summarise(DEPENDENCIES)
        assert summary is not None
        assert summary.steps[SPELLCHECK].completed == 2

    def test_an_essay_heard_of_for_the_first_time_is_one_more(self) -> None:
        summary = self.apply([evidence("a")], evidence("b", step="nlp"))

        assert summary is not None
        assert (summary.essays_known, list(summary.steps)) == (2, ["nlp", "spellcheck"])

    def test_where_the_latest_completion_is_gone_all_are_counted_again(self) -> None:
        known = [evidence("a", at=minutes(1)), evidence("b", at=minutes(2))]

        assert self.apply(known, evidence("b", "failed", minutes(3))) is None
        assert self.apply(known, evidence("a", "failed", minutes(3))) is not None

    def test_where_the_latest_observation_is_gone_all_are_counted_again(self) -> None:
        summary = state_of(evidence("a", "failed")).summarise(DEPENDENCIES)
        rules = CountingRules(summary, DEPENDENCIES)
        before = tally_essay(rules, essay_in(state_of(evidence("a", "failed")), "a"))

        assert with_differences(summary, [Difference(before, {}, is_new=False)]) is None


def essay_in(state: BatchState, essay_id: str) -> EssaySteps:
    return next((one.steps for one in state.essays() if one.essay_id == essay_id), {})


def counted_by_difference(
    before: BatchState, after: BatchState, essay_id: EssayId
) -> BatchCompletionSummary | None:
    summary = before.summarise(DEPENDENCIES)
    known, changed = essay_in(before, essay_id), essay_in(after, essay_id)
    return with_differences(summary, [difference_of(summary, known, changed)])


def difference_of(
    summary: BatchCompletionSummary, known: EssaySteps, changed: EssaySteps
) -> Difference:
    rules = CountingRules(summary, DEPENDENCIES)
    return Difference(
        tally_essay(rules, known),
        tally_essay(rules, changed),
        is_new=not known,
    )


own_events = st.builds(
    evidence,
    st.sampled_from([*essay_names(4), "new"]),
    st.sampled_from(["completed", "completed", "failed", "pending"]),
    st.integers(0, 6).map(minutes),
    step=st.sampled_from(["spellcheck", "nlp", "ai_feedback", "cj_assessment"]),
    storage_id=st.sampled_from([None, "text"]),
)
unreadable_statements = st.builds(
    evidence,
    st.sampled_from(essay_names(4)),
    st.just("pending"),
    st.integers(0, 6).map(minutes),
    source=st.just(UNREADABLE),
)


@tries(300)
@given(histories, st.lists(own_events | unreadable_statements, min_size=1, max_size=10))
@example([], [evidence("a"), evidence("a", "failed", minutes(1)), evidence("b", at=minutes(2))])
def test_counting_by_differences_event_after_event_is_counting_all(
    history: list[BatchUpdate], events: list[EssayEvidence]
) -> None:
    """The summary is carried on from one difference to the next, as a cache carries it on."""
    state = BatchState(BATCH)
    for one in history:
        state.merge(one)
    carried = state.summarise(DEPENDENCIES)
    for event in events:
        counts_here = state.members() is None or event.essay_id in (state.members() or ())
        known = essay_in(state, event.essay_id)
        state.merge(update("batch", event))
        if not counts_here:
            carried = state.summarise(DEPENDENCIES)
            continue
        changed = essay_in(state, event.essay_id)
        difference = with_differences(carried, [difference_of(carried, known, changed)])
        expected = state.summarise(DEPENDENCIES)
        if difference is not None:
            assert difference == expected
        carried = expected if difference is None else difference


@tries(300)
@given(histories, st.lists(own_events | unreadable_statements, min_size=1, max_size=10))
def test_counting_the_differences_of_many_events_at_once_is_counting_all(
    history: list[BatchUpdate], events: list[EssayEvidence]
) -> None:
    state = BatchState(BATCH)
    for one in history:
        state.merge(one)
    summary, members = state.summarise(DEPENDENCIES), state.members()
    said = [one for one in events if members is None or one.essay_id in members]
    essays = {one.essay_id: essay_in(state, one.essay_id) for one in said}
    state.merge(update("batch", *said))

    counted = with_differences(
        summary,
        (difference_of(summary, known, essay_in(state, one)) for one, known in essays.items()),
    )

    assert counted in (None, state.summarise(DEPENDENCIES))


@tries(100)
@given(histories)
def test_counts_are_made_of_what_reports_say_and_of_no_earlier_count(
    history: list[BatchUpdate],
) -> None:
    """So a summary may be counted again from any state of its counts."""
    state = BatchState(BATCH)
    for one in history:
        state.merge(one)
    summary, members = state.summarise(DEPENDENCIES), state.members()
    counted = [e.steps for e in state.essays() if members is None or e.essay_id in members]

    again = with_counts(summary, tally_all(summary, DEPENDENCIES, counted), len(counted))

    assert again == summary
    assert (
        with_counts(
            with_counts(summary, {}, 0), tally_all(summary, DEPENDENCIES, counted), len(counted)
        )
        == summary
    )
