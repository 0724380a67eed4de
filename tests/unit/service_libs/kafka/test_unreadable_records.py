import pytest

from service_libs.exceptions import UnreadableRecordError
from service_libs.kafka.patience import UnreadablePollError, UnreadableRecords

FIRST, SECOND = ("topic", 0), ("topic", 1)


def observe(records: UnreadableRecords, **offsets: int) -> None:
    positions = {("topic", int(name[1:])): offset for name, offset in offsets.items()}
    records.observe(UnreadablePollError(positions, is_final=False))


def test_a_transfer_may_go_wrong_twice() -> None:
    records = UnreadableRecords()
    for offset in (5, 5, 6, 6, 7, 7):
        observe(records, p0=offset)


def test_a_partition_that_does_not_move_is_named_also_while_others_do() -> None:
    records = UnreadableRecords()
    observe(records, p0=5, p1=100)
    observe(records, p0=5, p1=200)

    with pytest.raises(UnreadableRecordError, match=r"after topic:0:5 cannot be read"):
        observe(records, p0=5, p1=300)


def test_a_partition_that_was_read_in_between_counts_again_from_one() -> None:
    records = UnreadableRecords()
    observe(records, p0=5)
    observe(records, p0=5)
    observe(records, p1=1)
    observe(records, p0=5)


def test_what_is_known_to_be_unreadable_is_not_tried_again() -> None:
    error = UnreadablePollError({SECOND: 2, FIRST: 1}, is_final=True)

    with pytest.raises(UnreadableRecordError, match="topic:0:1 or topic:1:2"):
        UnreadableRecords().observe(error)
