"""The oracle itself: histories small enough to be judged by hand, from the text of the contract."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from tests.support.oracle.histories import GRAPH, make_history
from tests.support.oracle.judge import Verdict, judge
from tests.support.oracle.sending import (
    BATCH,
    MINUTE,
    Draft,
    all_done,
    assessed,
    at,
    essay_names,
    phase_ended,
    registered,
    spellchecked,
)
from tests.support.oracle.wire import CJ, SPELLCHECK

YEAR = 365 * 1440 * MINUTE
TWO = essay_names(2)
THREE = essay_names(3)


def verdicts(drafts: Sequence[Draft], essays_total: int | None = None) -> dict[str, Verdict]:
    rng = Random(0)
    return judge([each.to_record(rng) for each in drafts], BATCH, GRAPH, essays_total)


def skipped(drafts: Sequence[Draft], essays_total: int | None = None) -> set[str]:
    return {step for step, it in verdicts(drafts, essays_total).items() if it.may_skip}


def spellchecked_batch(size: int) -> list[Draft]:
    """A batch of so many essays, all of them spellchecked."""
    names = essay_names(size)
    return [registered(size, names, 0), *(spellchecked(each, 1) for each in names)]


def unreadable(draft: Draft) -> Draft:
    return replace(draft, envelope={"schema_version": 2})


ALL = set(GRAPH)


def test_what_is_done_is_skipped_and_nothing_said_is_run() -> None:
    assert skipped(all_done(3)) == ALL
    assert skipped([]) == set()


def test_what_was_not_done_is_run() -> None:
    everything = all_done(2)
    for draft in everything:
        others = [each for each in everything if each is not draft]
        phase = str(draft.data.get("phase_name"))
        runs = {"nlp": {"nlp", "ai_feedback"}, "ai_feedback": {"ai_feedback"}}.get(phase, set())
        assert skipped(others) == ALL - runs  # another record says what all others say


class TestWhatWasMadeFromSomethingOlder:
    """Row 1."""

    def test_cj_compared_a_text_that_has_changed(self) -> None:
        drafts = [*spellchecked_batch(1), assessed(["e1"], 2), spellchecked("e1", 3, text="b")]

        assert skipped(drafts) == {SPELLCHECK}
        assert "prerequisite_newer" in verdicts(drafts)[CJ].reasons
        assert skipped([*drafts, assessed(["e1"], 4)]) == {SPELLCHECK, CJ}

    def test_an_essay_was_mended_and_nlp_never_ran_since(self) -> None:
        mended = [spellchecked("e1", 3, "failed"), spellchecked("e1", 4, text="b")]
        drafts = [*spellchecked_batch(3), phase_ended("nlp", THREE, 2), *mended]

        assert skipped(drafts) == {SPELLCHECK}
        others = phase_ended("nlp", ["e2", "e3"], 5, run="again")
        assert skipped([*drafts, others]) == {SPELLCHECK}
        just_that = phase_ended("nlp", ["e1"], 5, run="again")
        assert skipped([*drafts, just_that]) == {SPELLCHECK, "nlp"}

    def test_spellcheck_failed_critically_and_was_done_anew(self) -> None:
        anew = [spellchecked(each, 4, text="b") for each in TWO]
        failed = phase_ended(SPELLCHECK, [], 3.5, status="failed_critically")
        drafts = [*all_done(2), failed]

        assert skipped(drafts) == set()
        assert skipped([*drafts, *anew]) == {SPELLCHECK}

    def test_what_is_no_older_is_good_enough(self) -> None:
        assert skipped([*spellchecked_batch(1), phase_ended("nlp", ["e1"], 1)]) == {
            SPELLCHECK,
            "nlp",
        }

    def test_a_report_of_a_comparison_does_not_move_its_time(self) -> None:
        drafts = [
            *spellchecked_batch(1),
            assessed(["e1"], 2),
            spellchecked("e1", 3, text="b"),
            phase_ended(CJ, ["e1"], 4),
        ]

        assert skipped(drafts) == {SPELLCHECK}


class TestTimes:
    """Rows 3 and 9."""

    @pytest.mark.parametrize(
        "word",
        [
            spellchecked("e1", 3, "failed"),
            phase_ended(SPELLCHECK, [], 3, status="failed_critically"),
            registered(4, essay_names(4), 3, "again"),
            registered(4, essay_names(4), 3, None),
        ],
        ids=["failure", "failed_critically", "registration", "registration without a time"],
    )
    @pytest.mark.parametrize("off", [0, -YEAR, YEAR, -2 * MINUTE])
    def test_what_stands_against_a_success_stands_whatever_its_senders_clock_says(
        self, word: Draft, off: int
    ) -> None:
        assert skipped([*all_done(3), word.shifted(sender=off)]) == set()

    def test_a_failure_is_no_later_than_the_record_by_more_than_the_tolerance(self) -> None:
        failed = spellchecked("e1", 3, "failed").shifted(sender=YEAR)
        mended = spellchecked("e1", 3.2, text="b")

        assert skipped([*spellchecked_batch(1), failed, mended]) == {SPELLCHECK}

    @pytest.mark.parametrize(
        ("off", "may_skip"),
        [(MINUTE, True), (MINUTE + 1, False), (120 * MINUTE, False), (-YEAR, True)],
    )
    def test_a_success_from_the_future_is_not_believed(self, off: int, *, may_skip: bool) -> None:
        drafts = [registered(1, ["e1"], 0), spellchecked("e1", 1).shifted(sender=off)]

        assert skipped(drafts) == ({SPELLCHECK} if may_skip else set())

    def test_a_success_of_naive_local_time_does_not_outdo_the_failure_after_it(self) -> None:
        drafts = [
            registered(1, ["e1"], 0),
            replace(spellchecked("e1", 1).shifted(sender=120 * MINUTE), style="naive"),
            spellchecked("e1", 3, "failed"),
        ]

        assert skipped(drafts) == set()

    def test_a_registration_read_late_does_not_outdo_the_larger_one_after_it(self) -> None:
        """Our clock, a day after, bounds nothing that the record's own time bounds."""
        first = registered(2, TWO, 0).shifted(sender=YEAR, ours=1440 * MINUTE)
        larger = registered(3, THREE, 0.5, "again").shifted(ours=1440 * MINUTE)

        assert skipped([first, larger, *(spellchecked(each, 1) for each in TWO)]) == set()

    @pytest.mark.parametrize("style", ["date", "week", "hour"])
    def test_a_date_is_no_time(self, style: str) -> None:
        failed = replace(spellchecked("e1", 3, "failed"), style=style)

        drafts = [*spellchecked_batch(1), failed]

        assert skipped(drafts) == set()
        assert "unreadable_event" in verdicts(drafts)[SPELLCHECK].reasons


class TestCopies:
    """Row 4, and the registrations' copies."""

    @pytest.mark.parametrize(
        "against",
        [
            phase_ended("nlp", [], 3, status="failed_critically"),
            phase_ended("nlp", ["e2"], 3, ["e1"]),
        ],
        ids=["critically", "named"],
    )
    def test_fail_succeed_fail_in_the_same_words_is_a_failure(self, against: Draft) -> None:
        drafts = [*all_done(2), against, phase_ended("nlp", TWO, 4, run="again")]

        assert skipped(drafts) == {SPELLCHECK, CJ, "nlp"}
        assert skipped([*drafts, against.again(at(5))]) == {SPELLCHECK, CJ}

    def test_of_a_success_sent_again_the_earliest_time_counts(self) -> None:
        success = phase_ended("nlp", TWO, 2)
        against = phase_ended("nlp", [], 3, status="failed_critically")

        assert "nlp" not in skipped([*all_done(2), against, success.again(at(4))])

    @pytest.mark.parametrize(
        ("sizes", "total"),
        [((10, 8, 10), 10), ((8, 10, 8), 10), ((8, 10), 10), ((10, 8), 8)],
        ids=str,
    )
    def test_a_larger_registration_sent_again_raises_the_total(
        self, sizes: tuple[int, ...], total: int
    ) -> None:
        first = {size: registered(size, [], step) for step, size in enumerate(sizes[:2])}
        drafts = [*first.values(), *(first[size].again(at(2)) for size in sizes[2:])]

        for count in (8, 10):
            done = [spellchecked(each, 3) for each in essay_names(count)]
            assert skipped([*drafts, *done]) == ({SPELLCHECK} if count == total else set())


class TestWhatCannotBeRead:
    """Row 5."""

    @pytest.mark.parametrize("status", ["a_new_word", "in_progress", "pending", "COMPLETED"])
    def test_an_unknown_status_is_pending(self, status: str) -> None:
        assert skipped([*spellchecked_batch(1), spellchecked("e1", 3, status)]) == set()

    @pytest.mark.parametrize("name", ["schema_version", "too long"])
    def test_a_failure_that_cannot_be_read_puts_its_essay_in_doubt(self, name: str) -> None:
        failed = spellchecked("e1", 3, "failed")
        if name == "too long":
            failed = replace(failed, data=failed.data | {"corrected_text_storage_id": "x" * 1025})
        else:
            failed = unreadable(failed)
        drafts = [*spellchecked_batch(2), failed]

        assert skipped(drafts) == set()
        assert "unreadable_event" in verdicts(drafts)[SPELLCHECK].reasons
        assert skipped([*drafts, spellchecked("e2", 4, text="b")]) == set()
        assert skipped([*drafts, spellchecked("e1", 4, text="b")]) == {SPELLCHECK}

    def test_no_outcome_ends_a_doubt_that_it_could_not_end_were_it_a_failure(self) -> None:
        outcome = phase_ended(SPELLCHECK, ["e1"], 4)
        for own in ([], [spellchecked("e1", 1)]):
            drafts = [registered(1, ["e1"], 0), *own, outcome]
            assert skipped([*drafts, spellchecked("e1", 3, "failed")]) == set()
            assert skipped([*drafts, unreadable(spellchecked("e1", 3, "failed"))]) == set()

    @pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b"[]"])
    def test_a_batch_is_read_from_the_key_where_the_topic_is_keyed_by_batch(
        self, value: bytes | None
    ) -> None:
        records = [each.to_record(Random(0)) for each in all_done(1)]
        outcome = phase_ended("nlp", [], 4).to_record(Random(0))

        found = judge([*records, replace(outcome, value=value)], BATCH, GRAPH)

        assert not any(verdict.may_skip for verdict in found.values())

    def test_a_registration_puts_all_in_doubt_until_one_can_be_read(self) -> None:
        drafts = [*all_done(2), unreadable(registered(3, THREE, 4, "again"))]

        assert skipped(drafts) == set()
        assert skipped([*drafts, registered(2, TWO, 0).again(at(5))]) == set()
        assert skipped([*drafts, registered(2, TWO, 5, "again")]) == ALL


class TestHowManyEssays:
    """Rows 6, 7 and 8."""

    def test_the_largest_number_counts(self) -> None:
        drafts = spellchecked_batch(3)

        assert skipped(drafts, 3) == skipped(drafts, 2) == {SPELLCHECK}
        assert skipped(drafts, 4) == set()
        assert skipped([*drafts, phase_ended("other", essay_names(4), 2)]) == set()
        assert skipped([registered(1, TWO, 0), spellchecked("e1", 1)]) == set()

    def test_what_was_said_before_the_registration_does_not_count(self) -> None:
        said = phase_ended("other", essay_names(4), -1)

        assert skipped([*spellchecked_batch(3), said]) == {SPELLCHECK}
        assert skipped([*spellchecked_batch(3), said, said.again(at(0))]) == {SPELLCHECK}
        assert skipped([*spellchecked_batch(3), said.again(at(0))]) == set()

    def test_only_the_named_count(self) -> None:
        done = [spellchecked(each, 1) for each in ("e1", "stranger")]

        assert skipped([registered(2, TWO, 0), *done]) == set()
        assert skipped([registered(2, ["e1", "stranger"], 0), *done]) == {SPELLCHECK}

    def test_the_success_of_nothing_proves_nothing(self) -> None:
        nothing = [phase_ended(step, [], 1) for step in (SPELLCHECK, "nlp", CJ)]

        assert skipped(nothing) == set()

    def test_without_a_number_only_a_successful_outcome_proves(self) -> None:
        own = [spellchecked(each, 1) for each in TWO]
        in_part = phase_ended("nlp", ["e1"], 1)

        assert skipped(own) == set()
        assert skipped([*own[:1], in_part]) == set()
        assert skipped([*own, phase_ended(SPELLCHECK, TWO, 2)]) == {SPELLCHECK}
        assert skipped([*own, phase_ended(SPELLCHECK, ["e1"], 2)]) == set()

    def test_a_completion_that_kafka_never_committed_was_not_sent(self) -> None:
        assert skipped([registered(2, TWO, 0), spellchecked("e1", 1)]) == set()


class TestComparison:
    """Row 14."""

    def test_two_halves_are_no_whole(self) -> None:
        names = essay_names(4)
        halves = [assessed(names[:2], 2), assessed(names[2:], 3)]

        assert skipped([*spellchecked_batch(4), *halves]) == {SPELLCHECK}
        assert skipped([*spellchecked_batch(4), *halves, assessed(names, 4)]) == {SPELLCHECK, CJ}

    def test_the_latest_alone_counts(self) -> None:
        drafts = [*spellchecked_batch(3), assessed(THREE, 2)]

        assert skipped(drafts) == {SPELLCHECK, CJ}
        assert skipped([*drafts, assessed(TWO, 3)]) == {SPELLCHECK}
        assert skipped([*drafts, assessed(TWO, 3, ["e3"], "completed_with_failures")]) == {
            SPELLCHECK
        }
        assert skipped([*drafts, assessed([], 3, status="failed")]) == {SPELLCHECK}

    def test_a_part_of_it_that_failed_counts_by_its_latest_copy(self) -> None:
        in_part = phase_ended(CJ, [], 1.5, ["stranger"])
        drafts = [*spellchecked_batch(2), in_part, assessed(TWO, 2)]

        assert skipped(drafts) == {SPELLCHECK, CJ}
        assert skipped([*drafts, in_part.again(at(3))]) == {SPELLCHECK}

    def test_more_than_those_that_count_are_allowed(self) -> None:
        before = assessed([*THREE, "stranger"], 2)
        drafts = [*(spellchecked(each, 1) for each in THREE), before, registered(3, THREE, 3)]

        assert skipped(drafts) == {SPELLCHECK, CJ}


class TestOutcomes:
    """Reports never prune against an essay's own word, and take completeness away."""

    def test_an_essays_own_failure_stands_against_a_report(self) -> None:
        own = [spellchecked("e1", 1), spellchecked("e2", 1, "failed")]

        assert skipped([registered(2, TWO, 0), *own, phase_ended(SPELLCHECK, TWO, 2)]) == set()

    def test_failures_with_names_take_away_from_those_alone(self) -> None:
        in_part = phase_ended(SPELLCHECK, [], 2, ["e1"])
        drafts = [*spellchecked_batch(2), in_part]

        assert skipped(drafts) == set()
        assert skipped([*drafts, spellchecked("e1", 3, text="b")]) == {SPELLCHECK}
        assert skipped([*drafts, spellchecked("e2", 3, text="b")]) == set()

    @pytest.mark.parametrize("status", ["failed_critically", "completed_with_failures", "strange"])
    def test_failures_without_names_take_away_from_all(self, status: str) -> None:
        against = phase_ended("nlp", TWO, 3, status=status)

        assert skipped([*all_done(2), against]) == {SPELLCHECK, CJ}

    def test_a_report_of_an_earlier_completion_does_not_move_its_time(self) -> None:
        report = phase_ended(SPELLCHECK, TWO, 5, run="late")

        assert skipped([*all_done(2), report]) == ALL


def test_the_order_of_records_changes_nothing() -> None:
    for seed in range(300):
        history = make_history(Random(seed))
        told = judge(history.records, BATCH, GRAPH, history.essays_total)
        shuffled = list(history.records)
        Random(seed).shuffle(shuffled)

        assert judge(shuffled, BATCH, GRAPH, history.essays_total) == told
