"""What the contract calls a time, and which time a statement gets. Microseconds since 1970, UTC."""

import re
from dataclasses import dataclass
from datetime import date

SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
TOLERANCE = 60 * SECOND
EARLIEST = (date(1, 1, 1).toordinal() - date(1970, 1, 1).toordinal()) * DAY
LATEST = (date(9999, 12, 31).toordinal() - date(1970, 1, 1).toordinal() + 1) * DAY - 1

_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d+))?)?([Zz]|[+-]\d{2}:\d{2})?",
    re.ASCII,
)


def read_time(value: object) -> int | None:
    """Read a date, an hour with minutes and a zone (none is UTC), or return None.

    RFC 3339, and 24:00:00; the leap second is the next day's first instant.
    """
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    day, hour, minute, second, fraction, zone = match.groups()
    days = _read_day(day)
    offset = _read_offset(zone)
    part = int((fraction or "")[:6].ljust(6, "0"))
    of_day = _read_time_of_day(int(hour), int(minute), int(second or 0), part)
    if days is None or offset is None or of_day is None:
        return None
    moment = days * DAY + of_day - offset
    is_leap_second = second == "60"
    if is_leap_second and (moment - part) % DAY != 0:
        return None  # only the day's last minute, in UTC, may have one
    return moment if EARLIEST <= moment <= LATEST else None


def _read_day(text: str) -> int | None:
    try:
        return date.fromisoformat(text).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        return None


def _read_offset(zone: str | None) -> int | None:
    if zone is None or zone in "Zz":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 23 or minutes > 59:
        return None
    return (hours * 3600 + minutes * 60) * SECOND * (-1 if zone[0] == "-" else 1)


def _read_time_of_day(hour: int, minute: int, second: int, part: int) -> int | None:
    is_midnight = (hour, minute, second, part) == (24, 0, 0, 0)
    if not is_midnight and (hour > 23 or minute > 59 or second > 60):
        return None
    return (hour * 3600 + minute * 60 + second) * SECOND + part


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """What a statement's time is held against: the record's own time, and ours."""

    record: int
    ours: int

    def believes(self, said: int) -> bool:
        """Whether a success may have happened then."""
        return said <= min(self.record, self.ours) + TOLERANCE

    def bound(self, said: int) -> int:
        """Return the time of what always stands: a failure, a registration."""
        return self._bound(said, max(self.record, self.ours))

    def bound_by_record(self, said: int) -> int:
        """Return the same without our clock, which is late where we read late, or again."""
        return self._bound(said, self.record)

    def _bound(self, said: int, latest: int) -> int:
        return min(max(said, self.record - TOLERANCE), latest + TOLERANCE)
