"""Times on the wire: RFC 3339, with what its neighbours in ISO 8601 may leave out.

A date alone is no time: read as midnight it would make a failure older than what it takes away.
"""

import re
from datetime import UTC, datetime, timedelta, timezone

_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]"
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]+))?)?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})?",
    re.ASCII,
)
_LAST_MINUTE = (23, 59)
_MIDNIGHT_AS_24 = 24  # ISO 8601 names the end of a day so
_LEAP_SECOND = 60
_MINUTES_PER_HOUR = 60


def parse_time(text: str) -> datetime:
    """Return the time in UTC; without a zone it is UTC.

    24:00:00 is the next day's midnight, and so is a leap second.

    Raises:
        ValueError: the text is no time, or one that no calendar has.
        OverflowError: it is out of range.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("not a date and a time")
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    fraction = (match["fraction"] or "")[:6].ljust(6, "0")
    zone = _zone(match["zone"])
    ends_a_day = (hour, minute, second, int(fraction)) == (_MIDNIGHT_AS_24, 0, 0, 0)
    is_leap = second == _LEAP_SECOND
    time = datetime.fromisoformat(match["date"]).replace(
        hour=0 if ends_a_day else hour,
        minute=minute,
        second=second - is_leap,
        microsecond=0 if is_leap else int(fraction),
        tzinfo=zone,
    )
    time = (time + timedelta(days=ends_a_day)).astimezone(UTC)
    if not is_leap:
        return time
    if (time.hour, time.minute) != _LAST_MINUTE:
        raise ValueError("a leap second ends a day")
    return time + timedelta(seconds=1)


def _zone(text: str | None) -> timezone:
    if text is None or text in "Zz":
        return UTC
    hours, minutes = int(text[1:3]), int(text[4:6])
    if minutes >= _MINUTES_PER_HOUR:
        raise ValueError("no such zone")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
