"""Commits never pass a record that is not known to be held."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_conductor_service.consuming.durability import OffsetLedger
from batch_conductor_service.models import Watermark
from common_core.records import RecordPosition

A, B = ("topic-a", 0), ("topic-b", 1)


def at(offset: int, partition: tuple[str, int] = A) -> RecordPosition:
    """Return a position."""
    return RecordPosition(topic=partition[0], partition=partition[1], offset=offset)


def held_through(milliseconds: int, sequence: int = 0) -> Watermark:
    """Return a watermark."""
    return Watermark(generation="first", held_through=(milliseconds, sequence))


def ledger_of(*pairs: tuple[int, str | None]) -> OffsetLedger:
    """Return a ledger with these pairs of partition A."""
    ledger = OffsetLedger()
    for offset, entry_id in pairs:
        ledger.add(at(offset), entry_id)
    return ledger


def test_an_empty_ledger_commits_nothing() -> None:
    assert OffsetLedger().commit_points(held_through(10**6)) == {}


@pytest.mark.parametrize(
    ("pairs", "watermark", "expected"),
    [
        pytest.param([(5, "1-0")], held_through(1), {A: 6}, id="held"),
        pytest.param([(5, "1-0")], held_through(0, 9), {}, id="not held"),
        pytest.param([(5, "1-2")], held_through(1, 1), {}, id="sequence not held"),
        pytest.param([(5, "1-0"), (6, "3-0"), (7, "2-0")], held_through(2), {A: 6}, id="gap"),
        pytest.param([(5, "1-0"), (9, "2-0")], held_through(2), {A: 10}, id="compacted log"),
        pytest.param([(5, None), (6, "2-0")], held_through(1), {A: 6}, id="durable first"),
        pytest.param([(5, "2-0"), (6, None)], held_through(1), {}, id="durable behind a gap"),
        pytest.param([(5, None), (6, None)], None, {A: 7}, id="all durable, no queue"),
        pytest.param([(5, "1-0")], None, {}, id="queued, no watermark"),
    ],
)
def test_commits_end_at_the_first_record_that_is_not_held(
    pairs: list[tuple[int, str | None]],
    watermark: Watermark | None,
    expected: dict[tuple[str, int], int],
) -> None:
    assert ledger_of(*pairs).commit_points(watermark) == expected


def test_partitions_do_not_wait_for_each_other() -> None:
    ledger = ledger_of((5, "9-0"))
    ledger.add(at(7, B), "1-0")

    assert ledger.commit_points(held_through(1)) == {B: 8}


def test_looking_changes_nothing_and_only_what_is_committed_is_discarded() -> None:
    ledger = ledger_of((5, "1-0"), (6, "2-0"), (7, "3-0"))
    points = ledger.commit_points(held_through(2))

    assert ledger.commit_points(held_through(2)) == points == {A: 7}
    ledger.discard(points)
    assert ledger.commit_points(held_through(2)) == {}
    assert ledger.rewind_points() == {A: 7}
    assert len(ledger) == 1


def test_a_replay_begins_at_the_first_record_in_flight() -> None:
    ledger = ledger_of((5, "1-0"), (6, "2-0"))
    ledger.add(at(7, B), None)

    assert ledger.rewind_points() == {A: 5, B: 7}


def test_discarding_an_unknown_partition_is_nothing() -> None:
    ledger = ledger_of((5, "1-0"))
    ledger.discard({B: 100})

    assert len(ledger) == 1


def test_after_clearing_the_same_offsets_may_come_again() -> None:
    ledger = ledger_of((5, "1-0"), (6, "2-0"))
    ledger.clear()
    ledger.add(at(5), "3-0")

    assert ledger.rewind_points() == {A: 5}


@pytest.mark.parametrize("offset", [4, 5])
def test_offsets_must_rise(offset: int) -> None:
    ledger = ledger_of((5, "1-0"))

    with pytest.raises(ValueError, match="comes after 5"):
        ledger.add(at(offset), "2-0")


Records = list[tuple[int, int | None]]  # step to the next offset, entry or durable

records = st.lists(
    st.tuples(st.integers(1, 3), st.one_of(st.none(), st.integers(1, 20))), max_size=30
)


@given(records, records, st.lists(st.integers(0, 20), max_size=6))
def test_no_commit_passes_a_record_that_is_not_held_and_none_stops_short(
    of_a: Records, of_b: Records, watermarks: list[int]
) -> None:
    """Compared with a model that looks at every record at every watermark."""
    ledger = OffsetLedger()
    logs: dict[tuple[str, int], list[tuple[int, int | None]]] = {A: [], B: []}
    for partition, steps in ((A, of_a), (B, of_b)):
        offset = -1
        for step, entry in steps:
            offset += step
            ledger.add(at(offset, partition), None if entry is None else f"{entry}-0")
            logs[partition].append((offset, entry))
    committed = {A: 0, B: 0}

    for watermark in sorted(watermarks):
        points = ledger.commit_points(held_through(watermark))
        committed |= points
        ledger.discard(points)

        for partition, log in logs.items():
            unheld = [o for o, entry in log if entry is not None and entry > watermark]
            below = [o for o, _ in log if not unheld or o < unheld[0]]
            assert committed[partition] == (below[-1] + 1 if below else 0)


@given(records, st.data())
def test_a_commit_that_failed_is_made_up_for(of_a: Records, data: st.DataObject) -> None:
    ledger = OffsetLedger()
    offset = -1
    for step, entry in of_a:
        offset += step
        ledger.add(at(offset), None if entry is None else f"{entry}-0")

    for watermark in (5, 10, 20):
        points = ledger.commit_points(held_through(watermark))
        if data.draw(st.booleans()):
            ledger.discard(points)

    ledger.discard(ledger.commit_points(held_through(20)))
    assert len(ledger) == 0
