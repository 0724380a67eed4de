"""What the oracle takes for a time."""

import pytest

from tests.support.oracle.times import read_time


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("2026-11-26T00:00:00z", "2026-11-26T00:00:00+00:00"),
        ("2026-11-25T24:00:00Z", "2026-11-26T00:00:00Z"),
        ("2026-11-25T23:59:60Z", "2026-11-26T00:00:00Z"),
        ("2026-11-26T00:59:60+01:00", "2026-11-26T00:00:00Z"),
        ("2026-11-26t02:00+02:00", "2026-11-26T00:00:00"),
        ("2026-11-26 00:00:00.0000019", "2026-11-26T00:00:00.000001Z"),
    ],
)
def test_ways_to_write_a_time(text: str, same_as: str) -> None:
    assert read_time(text) == read_time(same_as) is not None


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26",
        "2026-W48-4T10:00:00",
        "2026-11-26T10",
        "20261126T100000Z",
        "2026-11-26T24:00:01Z",
        "2026-11-26T12:00:60Z",
        "2026-11-26T10:00+24:00",
        "0000-11-26T10:00Z",
        "9999-12-31T24:00Z",
        "2026-11-26T10:00:00Z\n",
        5,
        None,
    ],
)
def test_what_is_no_time(text: object) -> None:
    assert read_time(text) is None
