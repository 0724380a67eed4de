from datetime import datetime, timedelta

import pytest

from service_libs.kafka.reading_progress import CONFIRMATIONS, FetchAnswer, ReadingProgress
from tests.support.builders import NOON

PARTITION, OTHER = ("topic", 0), ("topic", 1)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


class Reading:
    """A reading of one partition, told as it goes."""

    def __init__(self) -> None:
        self.progress = ReadingProgress()

    def answered(
        self, asked: float, offset: int, end: int | None = None, *, is_empty: bool = True
    ) -> None:
        answer = FetchAnswer(
            partition=PARTITION,
            asked_at=at(asked),
            offset=offset,
            end=offset if end is None else end,
            is_empty=is_empty,
        )
        self.progress.note_answer(answer)

    def handed_out(self, *offsets: int) -> None:
        self.progress.take_in_hand((PARTITION, offset) for offset in offsets)

    def applied(self, *offsets: int) -> None:
        self.handed_out(*offsets)
        self.progress.finish()

    def trust_the_end(self) -> None:
        """Have the broker be right about its end often enough."""
        for offset in range(CONFIRMATIONS):
            self.answered(-100, offset, offset + 1, is_empty=False)
            self.applied(offset)

    @property
    def until(self) -> datetime | None:
        return self.progress.applied_until().get(PARTITION)


@pytest.fixture
def reading() -> Reading:
    return Reading()


def test_nothing_is_known_before_the_first_answer(reading: Reading) -> None:
    assert reading.until is None


def test_an_empty_answer_tells_from_when_it_was_asked(reading: Reading) -> None:
    reading.answered(1, 5)
    reading.answered(2, 5)

    assert reading.until == at(2)


def test_records_that_are_in_hand_hold_it_where_it_was(reading: Reading) -> None:
    reading.answered(1, 5)
    reading.answered(2, 5, 7, is_empty=False)
    reading.handed_out(5, 6)
    reading.answered(3, 7)  # the fetcher goes on while they are being applied

    assert reading.until == at(1)

    reading.progress.finish()

    assert reading.until == at(3)


def test_records_that_are_abandoned_hold_it_for_good(reading: Reading) -> None:
    reading.answered(1, 5)
    reading.handed_out(5, 6)
    reading.answered(2, 7)
    reading.answered(3, 7)

    assert reading.until == at(1)
    assert reading.progress.read_ends() == {}


def test_what_is_behind_the_last_stable_offset_is_not_known(reading: Reading) -> None:
    """An open transaction hides what came after it, facts among that."""
    reading.answered(1, 5)
    reading.answered(2, 5, 9)

    assert reading.until == at(1)


def test_when_the_transaction_has_ended_what_came_since_is_known(reading: Reading) -> None:
    reading.trust_the_end()
    reading.answered(2, 3, 9)
    reading.answered(3, 3, 9, is_empty=False)
    reading.applied(3, 4)
    assert reading.until == at(-100)

    reading.answered(4, 9)  # behind the marker

    assert reading.until == at(4)


def test_a_partition_that_is_never_empty_is_known_by_the_end_that_is_told(
    reading: Reading,
) -> None:
    reading.trust_the_end()
    reading.answered(1, 3, 6, is_empty=False)
    reading.applied(3, 4)
    assert reading.until == at(-100)  # there was one more

    reading.answered(2, 5, 8, is_empty=False)
    reading.applied(5)

    assert reading.until == at(1)


def test_a_broker_that_was_not_tried_is_not_believed_about_its_end(reading: Reading) -> None:
    reading.answered(1, 0, 2, is_empty=False)
    reading.applied(0, 1)

    assert reading.until is None


def test_a_broker_that_tells_less_is_never_believed_about_its_end(reading: Reading) -> None:
    reading.trust_the_end()
    reading.answered(1, 3, 4, is_empty=False)
    reading.applied(3, 4, 5)
    reading.answered(2, 6, 8, is_empty=False)
    reading.applied(6, 7)
    assert reading.until is None

    reading.answered(3, 8, 6)

    assert reading.until == at(3)


def test_what_is_read_again_is_not_known_until_it_is_read(reading: Reading) -> None:
    reading.answered(1, 5)
    reading.progress.rewind({PARTITION: 2})
    assert reading.until is None

    reading.applied(2, 3, 4)
    reading.answered(2, 5)

    assert reading.until == at(2)


def test_partitions_that_are_given_away_are_forgotten(reading: Reading) -> None:
    reading.answered(1, 5)

    reading.progress.clear()

    assert reading.until is None


def test_a_clock_that_is_put_back_makes_it_earlier(reading: Reading) -> None:
    reading.answered(10, 5)
    assert reading.until == at(10)

    reading.answered(1, 5)

    assert reading.until == at(1)


class TestWhereReadingEnds:
    def test_it_is_behind_the_markers(self, reading: Reading) -> None:
        reading.answered(1, 0, 4, is_empty=False)
        reading.applied(0, 1)
        assert reading.progress.read_ends() == {}

        reading.answered(2, 4)

        assert reading.progress.read_ends() == {PARTITION: 4}

    def test_nothing_read_is_no_end(self, reading: Reading) -> None:
        reading.answered(1, 4)

        assert reading.progress.read_ends() == {}

    def test_records_in_hand_are_no_end(self, reading: Reading) -> None:
        reading.answered(1, 0, 2, is_empty=False)
        reading.handed_out(0)
        reading.answered(2, 1)

        assert reading.progress.read_ends() == {}

    def test_another_partition_does_not_matter(self, reading: Reading) -> None:
        reading.answered(1, 0, 2, is_empty=False)
        reading.applied(0, 1)
        reading.answered(2, 3)
        reading.progress.take_in_hand([(OTHER, 7)])

        assert reading.progress.read_ends() == {PARTITION: 3}
