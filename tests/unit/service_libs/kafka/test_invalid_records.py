from itertools import count

import pytest

from common_core.records import RecordPosition
from service_libs.decoding import InvalidRecordWindow
from service_libs.exceptions import DeadLetterLimitError
from service_libs.kafka.policy import DeadLetterLimit

LIMIT = DeadLetterLimit(max_invalid_ratio=0.5, min_invalid_records=10, window=40)

offsets = count()


def poll(*, valid: int = 0, invalid: int = 0) -> dict[RecordPosition, str | None]:
    """Return so many new records, each with the reason for which it is invalid, if it is."""
    reasons: list[str | None] = ["not_json"] * invalid
    return {
        RecordPosition(topic="topic", partition=0, offset=next(offsets)): reason
        for reason in [*reasons, *[None] * valid]
    }


def handle(window: InvalidRecordWindow, records: dict[RecordPosition, str | None]) -> None:
    window.check(records)
    window.add(records)


def test_few_invalid_records_are_tolerated_whatever_their_share() -> None:
    window = InvalidRecordWindow(LIMIT)
    for _ in range(9):
        handle(window, poll(invalid=1))

    with pytest.raises(DeadLetterLimitError):
        window.check(poll(invalid=1))


def test_half_of_the_records_is_not_more_than_half() -> None:
    window = InvalidRecordWindow(LIMIT)
    handle(window, poll(valid=20, invalid=20))

    with pytest.raises(DeadLetterLimitError):
        window.check(poll(invalid=1))


def test_only_the_latest_records_count() -> None:
    window = InvalidRecordWindow(LIMIT)
    for _ in range(10):
        handle(window, poll(valid=30, invalid=5))


def test_a_poll_without_invalid_records_never_halts() -> None:
    window = InvalidRecordWindow(LIMIT)
    window.add(poll(invalid=40))

    window.check(poll(valid=1))


def test_a_ratio_of_one_is_never_exceeded() -> None:
    window = InvalidRecordWindow(
        DeadLetterLimit(max_invalid_ratio=1, min_invalid_records=1, window=10)
    )
    handle(window, poll(invalid=100))


def test_of_a_poll_larger_than_the_window_the_invalid_records_count() -> None:
    with pytest.raises(DeadLetterLimitError):
        InvalidRecordWindow(LIMIT).check(poll(valid=400, invalid=30))


def test_a_poll_that_is_tried_again_and_again_counts_once() -> None:
    window = InvalidRecordWindow(LIMIT)
    records = poll(invalid=9)
    for _ in range(5):
        window.check(records)
    for _ in range(5):
        handle(window, records)


def test_the_error_says_how_many_of_what_and_where() -> None:
    window = InvalidRecordWindow(LIMIT)
    window.add({RecordPosition(topic="a", partition=0, offset=n): None for n in range(8)})
    reasons = ["not_json"] * 9 + ["schema_violation"] * 2
    records = {
        RecordPosition(topic="b" if n else "a", partition=3, offset=n): reason
        for n, reason in enumerate(reasons)
    }

    with pytest.raises(DeadLetterLimitError) as caught:
        window.check(records)

    assert caught.value.details == {
        "records": 11,
        "among": 19,
        "topics": "b (10), a (1)",
        "reasons": "not_json (9), schema_violation (2)",
        "topic": "b",
        "partition": 3,
        "offset": 10,
    }
    assert "b (10), a (1)" in str(caught.value)
    assert "b:3:10" in str(caught.value)
