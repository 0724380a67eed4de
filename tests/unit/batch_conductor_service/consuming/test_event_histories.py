"""Random histories of a batch, as neighbours may send them: doubled, shuffled and sent again."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from batch_conductor_service.consuming.phase_tracking import group_by_batch, to_update
from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.resolution import judge_step
from batch_conductor_service.models import BatchCompletionSummary, BatchId, BatchUpdate, StepName
from common_core.records import RecordPosition
from tests.support.builders import (
    RecordedEvent,
    assessed,
    essay_names,
    minutes,
    phase_outcome,
    registered,
    spellchecked,
)
from tests.support.decoding import decode_event
from tests.support.pipelines import DEPENDENCIES

ESSAYS = essay_names(3)
TIMES = st.integers(0, 4).map(minutes)
ESSAY_LISTS = st.lists(st.sampled_from(ESSAYS), unique=True, max_size=3)
STEPS = ("spellcheck", "cj_assessment")

EVENTS = st.one_of(
    st.builds(
        spellchecked,
        st.just("batch"),
        st.sampled_from([*ESSAYS, "unregistered"]),
        st.sampled_from(["completed", "completed", "completed", "failed", "in_progress"]),
        TIMES,
    ),
    st.builds(
        assessed,
        st.just("batch"),
        ESSAY_LISTS,
        ESSAY_LISTS,
        TIMES,
        status=st.sampled_from(["completed_successfully", "failed"]),
    ),
    st.builds(
        phase_outcome,
        st.just("batch"),
        ESSAY_LISTS,
        st.one_of(st.just([]), ESSAY_LISTS),
        TIMES,
        phase=st.sampled_from(STEPS),
    ),
    st.builds(registered, st.just("batch"), st.integers(0, 4), TIMES),
    st.builds(registered, st.just("batch"), st.just(3), TIMES, essays=st.just([])),
)
HISTORIES = st.lists(EVENTS, max_size=12)

OutcomeArguments = tuple[list[str], list[str], str, datetime]  # done, failed, phase, time
NOBODY = st.just(list[str]())
SUCCESSES = st.lists(st.tuples(ESSAY_LISTS, NOBODY, st.sampled_from(STEPS), TIMES), max_size=5)
FAILURES = st.lists(
    st.tuples(NOBODY, ESSAY_LISTS.filter(bool), st.sampled_from(STEPS), TIMES), max_size=5
)


def project(event: RecordedEvent) -> BatchUpdate:
    position = RecordPosition(topic=event.topic, partition=0, offset=0)
    return to_update(decode_event(event.topic, event.value), position)


def state_of(updates: Sequence[BatchUpdate]) -> BatchState:
    state = BatchState(BatchId("batch"))
    for update in updates:
        state.merge(update)
    return state


def facts(state: BatchState) -> tuple[BatchCompletionSummary, object]:
    return state.summarise(DEPENDENCIES), state.essays()


@given(HISTORIES, st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(
    history: list[RecordedEvent], chance: random.Random
) -> None:
    updates = [project(event) for event in history]
    disturbed = updates + chance.choices(updates, k=len(updates)) if updates else []
    chance.shuffle(disturbed)

    assert facts(state_of(disturbed)) == facts(state_of(updates))


@given(HISTORIES, SUCCESSES, st.randoms(use_true_random=False))
def test_a_success_sent_again_later_is_no_newer_evidence(
    history: list[RecordedEvent], outcomes: list[OutcomeArguments], chance: random.Random
) -> None:
    originals = [_outcome(arguments) for arguments in outcomes]
    copies = [_outcome(arguments, delay=timedelta(minutes=1)) for arguments in outcomes]
    updates = [project(event) for event in history + originals]
    disturbed = [*updates, *map(project, copies)]
    chance.shuffle(disturbed)

    assert facts(state_of(disturbed)) == facts(state_of(updates))


@given(HISTORIES, FAILURES, st.randoms(use_true_random=False))
def test_of_a_failure_sent_again_later_the_earlier_copy_is_nothing(
    history: list[RecordedEvent], outcomes: list[OutcomeArguments], chance: random.Random
) -> None:
    """Fail, succeed, fail in the same words is a failure."""
    originals = [_outcome(arguments) for arguments in outcomes]
    copies = [_outcome(arguments, delay=timedelta(minutes=1)) for arguments in outcomes]
    updates = [project(event) for event in history + copies]
    disturbed = [*updates, *map(project, originals)]
    chance.shuffle(disturbed)

    assert facts(state_of(disturbed)) == facts(state_of(updates))


def _outcome(arguments: OutcomeArguments, delay: timedelta = timedelta()) -> RecordedEvent:
    done, failed, phase, at = arguments
    return phase_outcome("batch", done, failed, at + delay, phase=phase)


@given(HISTORIES, st.randoms(use_true_random=False))
def test_grouping_a_poll_changes_nothing(
    history: list[RecordedEvent], chance: random.Random
) -> None:
    updates = [project(event) for event in history]
    cut = chance.randint(0, len(updates))

    polls = list(group_by_batch(updates[:cut])) + list(group_by_batch(updates[cut:]))

    assert facts(state_of(polls)) == facts(state_of(updates))


@given(HISTORIES)
def test_a_copied_batch_is_the_same_batch(history: list[RecordedEvent]) -> None:
    original = state_of([project(event) for event in history])

    assert facts(state_of([original.as_update()])) == facts(original)


@given(HISTORIES)
@example([registered("batch", 3), *[spellchecked("batch", essay) for essay in ESSAYS]])
def test_a_complete_step_has_every_essay_completed_and_none_failed(
    history: list[RecordedEvent],
) -> None:
    summary = state_of([project(event) for event in history]).summarise(DEPENDENCIES)

    for step in STEPS:
        progress = judge_step(summary, StepName(step))
        if progress.is_complete:
            assert progress.failed == 0
            assert progress.total is None or 0 < progress.total == progress.completed
