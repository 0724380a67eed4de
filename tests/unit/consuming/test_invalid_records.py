import pytest

from batch_conductor_service.consuming.invalid_records import InvalidRecordWindow
from batch_conductor_service.consuming.policy import DeadLetterLimit
from batch_conductor_service.exceptions import DeadLetterLimitError

LIMIT = DeadLetterLimit(max_invalid_ratio=0.5, min_invalid_records=10, window=40)


def test_few_invalid_records_are_tolerated_whatever_their_share() -> None:
    window = InvalidRecordWindow(LIMIT)
    for _ in range(9):
        window.observe(valid=0, invalid=1)

    with pytest.raises(DeadLetterLimitError):
        window.observe(valid=0, invalid=1)


def test_half_of_the_records_is_not_more_than_half() -> None:
    window = InvalidRecordWindow(LIMIT)
    window.observe(valid=20, invalid=20)

    with pytest.raises(DeadLetterLimitError):
        window.observe(valid=0, invalid=1)


def test_only_the_latest_records_count() -> None:
    window = InvalidRecordWindow(LIMIT)
    for _ in range(10):
        window.observe(valid=30, invalid=5)


def test_a_poll_without_invalid_records_never_halts() -> None:
    window = InvalidRecordWindow(LIMIT)
    with pytest.raises(DeadLetterLimitError):
        window.observe(valid=0, invalid=40)

    window.observe(valid=1, invalid=0)


def test_a_ratio_of_one_is_never_exceeded() -> None:
    window = InvalidRecordWindow(
        DeadLetterLimit(max_invalid_ratio=1, min_invalid_records=1, window=10)
    )
    window.observe(valid=0, invalid=100)
