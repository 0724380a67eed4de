"""Times on the wire: what is one, and which; a date alone is none."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from common_core.fields import AskedMoment, parse_time

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
NEXT_DAY = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26T12:00:00Z",
        "2026-11-26t12:00:00z",
        "2026-11-26 12:00:00Z",
        "2026-11-26T12:00:00+00:00",
        "2026-11-26T12:00:00-00:00",
        "2026-11-26T14:00:00+02:00",
        "2026-11-26T06:30:00-05:30",
        "2026-11-27T11:59:00+23:59",
        "2026-11-26T12:00:00.0Z",
        "2026-11-26T12:00Z",
    ],
)
def test_a_time_is_made_utc(text: str) -> None:
    assert parse_time(text) == NOON
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["2026-11-26T12:00:00", "2026-11-26T12:00", "2026-11-26 12:00"])
def test_a_time_without_a_zone_is_utc(text: str) -> None:
    assert parse_time(text) == NOON


@pytest.mark.parametrize(
    ("fraction", "microseconds"),
    [("5", 500_000), ("000001", 1), ("123456", 123_456), ("1234569", 123_456), ("9" * 40, 999_999)],
)
def test_a_fraction_of_a_second_counts_to_the_microsecond(fraction: str, microseconds: int) -> None:
    said = parse_time(f"2026-11-26T12:00:00.{fraction}Z")

    assert said == NOON + timedelta(microseconds=microseconds)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26T24:00:00Z",
        "2026-11-26T24:00:00",
        "2026-11-26T24:00Z",
        "2026-11-26T24:00:00.000Z",
        "2026-11-26T23:59:60Z",
        "2026-11-26T23:59:60.999Z",
        "2026-11-27T00:59:60+01:00",
        "2026-11-26T18:59:60-05:00",
    ],
)
def test_the_end_of_a_day_and_its_leap_second_are_the_next_midnight(text: str) -> None:
    assert parse_time(text) == NEXT_DAY


def test_the_end_of_a_day_is_that_of_its_zone() -> None:
    assert parse_time("2026-11-26T24:00:00+02:00") == NEXT_DAY - timedelta(hours=2)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26",
        "2026-11-26Z",
        "2026-11-26T",
        "2026-11-26T12",
        "2026-11-26T12Z",
        "2026-W48-4T12:00:00Z",
        "2026-330T12:00:00Z",
        "20261126T120000Z",
        "12:00:00Z",
        "1764158400",
        "now",
        "",
    ],
)
def test_what_lacks_a_date_or_an_hour_with_minutes_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="not a date and a time"):
        parse_time(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26T12:00:00.Z",
        "2026-11-26T12:00:00,5Z",
        "2026-11-26T12:00:00 Z",
        "2026-11-26T12:00:00+0200",
        "2026-11-26T12:00:00+02",
        "2026-11-26T12:00:00UTC",
        "2026-11-26T12:00:00Z\n",
        " 2026-11-26T12:00:00Z",
        "2026-11-26T1२:00:00Z",
        "+2026-11-26T12:00:00Z",
        "12026-11-26T12:00:00Z",
    ],
)
def test_what_is_spelt_otherwise_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="not a date and a time"):
        parse_time(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-13-01T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "2026-11-31T12:00:00Z",
        "0000-01-01T12:00:00Z",
        "2026-11-26T25:00:00Z",
        "2026-11-26T24:00:01Z",
        "2026-11-26T24:01:00Z",
        "2026-11-26T24:00:00.1Z",
        "2026-11-26T24:00:60Z",
        "2026-11-26T12:60:00Z",
        "2026-11-26T12:00:61Z",
        "2026-11-26T12:00:60Z",
        "2026-11-26T23:59:60+01:00",
        "2026-11-26T12:00:00+24:00",
        "2026-11-26T12:00:00+01:60",
    ],
)
def test_what_no_calendar_and_no_clock_has_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the calendar's own words
        parse_time(text)


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "9999-12-31T24:00:00Z",
        "9999-12-31T23:59:60Z",
    ],
)
def test_what_is_out_of_range_in_utc_is_refused(text: str) -> None:
    with pytest.raises(OverflowError):
        parse_time(text)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("0001-01-01T00:00:00+01:00", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59-01:00", datetime.max.replace(tzinfo=UTC)),
        ("9999-12-31T24:00:00Z", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_a_question_about_a_time_beyond_the_calendar_is_about_its_end(
    text: str, end: datetime
) -> None:
    assert TypeAdapter(AskedMoment).validate_python(text) == end


zones = st.integers(-1439, 1439).map(lambda count: timezone(timedelta(minutes=count)))
times = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    max_value=datetime(9998, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    timezones=zones,
)


@given(times, st.sampled_from("Tt "))
def test_every_time_is_read_as_it_was_written(time: datetime, separator: str) -> None:
    assert parse_time(time.isoformat(sep=separator)) == time


@given(times, st.sampled_from(["Z", "+00:00"]), st.sampled_from(["seconds", "microseconds"]))
def test_what_nearly_all_send_is_read_as_any_other_spelling(
    time: datetime, zone: str, timespec: str
) -> None:
    """It is left to the standard library; with a space it is not."""
    text = time.replace(tzinfo=None).isoformat(timespec=timespec) + zone

    assert parse_time(text) == parse_time(text.replace("T", " "))
    assert parse_time(text).tzinfo is UTC


@given(st.text(alphabet="0123456789-:.TtZz+ ", max_size=30))
def test_any_text_is_a_time_in_utc_or_refused(text: str) -> None:
    try:
        time = parse_time(text)
    except (ValueError, OverflowError):
        return
    assert time.tzinfo is UTC
