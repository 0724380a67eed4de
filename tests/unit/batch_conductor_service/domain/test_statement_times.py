"""When a statement counts as made, whosever clock is off."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_conductor_service.domain.statements import TimeBounds, bound_in_time, bounds_of
from batch_conductor_service.models import (
    BatchRegistration,
    BatchUpdate,
    EssayEvidence,
    PhaseOutcome,
)
from tests.support.builders import (
    evidence,
    minutes,
    outcome,
    registration,
    reported,
    update,
)

Item = EssayEvidence | PhaseOutcome | BatchRegistration

RECORDED = minutes(0)
TOLERANCE = timedelta(seconds=60)
SOON = RECORDED + TOLERANCE
FAR_AHEAD, FAR_BEHIND = minutes(60 * 24 * 365), minutes(-60 * 24 * 365)
MOMENT = timedelta(microseconds=1)


def bounded(
    *items: Item, recorded_at: datetime = RECORDED, now: datetime = RECORDED
) -> BatchUpdate:
    return bound_in_time(update("batch", *items), bounds_of(recorded_at, now, TOLERANCE))


def test_the_bounds_of_a_record() -> None:
    """Of two clocks each is used where it leads to running."""
    early, late = minutes(0), minutes(10)

    for recorded_at, now in ((early, late), (late, early)):
        assert bounds_of(recorded_at, now, TOLERANCE) == TimeBounds(
            latest_success=early + TOLERANCE,
            recorded_at=recorded_at,
            earliest=recorded_at - TOLERANCE,
            latest=late + TOLERANCE,
            latest_by_record=recorded_at + TOLERANCE,
        )


class TestSuccess:
    def test_one_from_later_than_can_be_is_pending_from_when_it_was_recorded(self) -> None:
        [item] = bounded(evidence("essay", at=SOON + MOMENT, storage_id="text")).evidence

        assert item == evidence("essay", "pending", RECORDED)

    @pytest.mark.parametrize("late", ["recorded_at", "now"])
    def test_one_clock_that_is_late_does_not_make_it_true(self, late: str) -> None:
        """By default the time of a record is that of its sender, too."""
        times = {late: FAR_AHEAD}

        [item] = bounded(evidence("essay", at=FAR_AHEAD), **times).evidence

        assert item.evidence.status == "pending"

    @pytest.mark.parametrize("at", [SOON, RECORDED, FAR_BEHIND])
    def test_one_within_the_tolerance_or_from_the_past_is_left_alone(self, at: datetime) -> None:
        said = update("batch", evidence("essay", at=at), outcome("confirms", at))

        assert bound_in_time(said, bounds_of(RECORDED, RECORDED, TOLERANCE)) == said

    def test_of_an_outcome_that_is_not_believed_only_the_number_stands(self) -> None:
        bound = bounded(*reported(["a", "b"], FAR_AHEAD))

        [told] = bound.outcomes
        assert (told.verdict, told.occurred_at, told.reported_total) == ("partial", RECORDED, 2)
        assert {item.essay_id: item.evidence.status for item in bound.evidence} == {
            "a": "pending",
            "b": "pending",
        }
        assert {item.evidence.occurred_at for item in bound.evidence} == {RECORDED}

    def test_one_that_is_not_believed_does_not_meet_a_believed_copy(self) -> None:
        """Each source says one status only, whichever copy is heard of first."""
        believed, doubted = (bounded(*reported(["a"], at)) for at in (RECORDED, FAR_AHEAD))

        assert believed.outcomes[0].fingerprint != doubted.outcomes[0].fingerprint
        assert believed.evidence[0].source != doubted.evidence[0].source
        assert doubted.evidence[0].source == doubted.outcomes[0].fingerprint

    def test_a_number_of_essays_counts_from_when_it_was_recorded(self) -> None:
        [told] = bounded(outcome("reports", FAR_AHEAD, total=3)).outcomes

        assert (told.verdict, told.occurred_at, told.reported_total) == ("reports", RECORDED, 3)


NO_SUCCESS = [
    evidence("essay", "failed"),
    evidence("essay", "pending"),
    evidence("essay", "failed", source="report"),
    outcome("partial"),
    outcome("refutes"),
]


def moved(item: EssayEvidence | PhaseOutcome, at: datetime) -> Item:
    """Return the statement as made at another time."""
    if isinstance(item, EssayEvidence):
        status = item.evidence.status.value
        return evidence(item.essay_id, status, at, source=item.source)
    return outcome(item.verdict.value, at)


def only(bound: BatchUpdate) -> Item:
    items: tuple[Item, ...] = (*bound.evidence, *bound.outcomes, *bound.registrations)
    [item] = items
    return item


@pytest.mark.parametrize("item", NO_SUCCESS)
class TestWhatIsNoSuccess:
    """A failure must not lose, nor outlast what comes after it, whosever clock is off."""

    def test_it_stands_from_the_past_as_long_before_its_record_as_a_clock_may_be_off(
        self, item: EssayEvidence | PhaseOutcome
    ) -> None:
        assert only(bounded(moved(item, FAR_BEHIND))) == moved(item, RECORDED - TOLERANCE)

    def test_it_stands_from_the_future_as_long_after_its_record_as_a_clock_may_be_off(
        self, item: EssayEvidence | PhaseOutcome
    ) -> None:
        assert only(bounded(moved(item, FAR_AHEAD))) == moved(item, SOON)

    @pytest.mark.parametrize("late", ["recorded_at", "now"])
    def test_a_clock_that_is_behind_does_not_make_it_lose(
        self, item: EssayEvidence | PhaseOutcome, late: str
    ) -> None:
        times = {"recorded_at": RECORDED, "now": RECORDED} | {late: FAR_AHEAD}

        assert only(bounded(moved(item, FAR_AHEAD), **times)) == moved(item, FAR_AHEAD)

    @pytest.mark.parametrize("at", [RECORDED - TOLERANCE, RECORDED, SOON])
    def test_within_the_tolerance_it_is_left_alone(
        self, item: EssayEvidence | PhaseOutcome, at: datetime
    ) -> None:
        assert only(bounded(moved(item, at))) == moved(item, at)


class TestRegistration:
    """Too late it would hide a later one, too early it would give way to one of fewer essays."""

    def test_it_stands_near_its_record(self) -> None:
        [early] = bounded(registration(3, FAR_BEHIND)).registrations
        [late] = bounded(registration(3, FAR_AHEAD)).registrations

        assert early == registration(3, RECORDED - TOLERANCE)
        assert late == registration(3, SOON)

    @pytest.mark.parametrize("at", [RECORDED - TOLERANCE, RECORDED, SOON])
    def test_within_the_tolerance_it_is_left_alone(self, at: datetime) -> None:
        [told] = bounded(registration(3, at)).registrations

        assert told == registration(3, at)

    def test_it_is_in_force_by_its_record_and_came_again_by_whichever_clock_is_later(self) -> None:
        """A broker whose clock is behind must not keep it from raising the total."""
        [told] = bounded(registration(3, FAR_AHEAD), now=FAR_AHEAD).registrations

        assert (told.occurred_at, told.repeated_at) == (SOON, FAR_AHEAD)


times = st.integers(-400, 400).map(lambda count: minutes(count / 10))


@given(times, times, times, st.sampled_from(["completed", "failed", "pending"]))
def test_nothing_stands_later_than_any_clock_allows_and_no_failure_before_its_record(
    said_at: datetime, recorded_at: datetime, now: datetime, status: str
) -> None:
    said = evidence("essay", status, said_at)

    [item] = bounded(said, recorded_at=recorded_at, now=now).evidence

    stands_at = item.evidence.occurred_at
    assert stands_at <= max(recorded_at, now) + TOLERANCE
    if item.evidence.status == "completed":
        assert item == said
        assert stands_at <= min(recorded_at, now) + TOLERANCE
    else:
        assert recorded_at - TOLERANCE <= stands_at
