"""What a field on the wire may hold: identifiers, times and text. Pure; pydantic only.

Of the same things there are two kinds: those of events, whose faults are named for a dead letter,
and those that callers ask with, whose faults are named for a person.

A colon in an identifier would let two pairs of ids meet in one key, a brace would move a key to
another cluster slot, and a star would match others in a scan; so an id is made of letters, digits
and `. _ ~ @ + = -`.

A time is one of RFC 3339, with what its neighbours in ISO 8601 may leave out. A date alone is no
time: read as midnight it would make a failure older than what it takes away.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from common_core.printable import PRINTABLE_PATTERN, is_printable

MAX_ID_LENGTH = 255  # characters
MAX_CORRELATION_LENGTH = 100  # characters
MAX_TEXT_LENGTH = 1024  # characters
MAX_COUNT = 2**31 - 1  # what a column of the database holds

NO_IDENTIFIER = "must be made of letters, digits and . _ ~ @ + = -"
BAD_IDENTIFIER = "bad_identifier"
UNSTORABLE_TEXT = "unstorable_text"

ID_PATTERN = rf"^[A-Za-z0-9._~@+=-]{{1,{MAX_ID_LENGTH}}}$"
_IDENTIFIER = re.compile(ID_PATTERN.removesuffix("$") + r"\Z")

_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]"
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]+))?)?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})?",
    re.ASCII,
)
# What nearly all senders write, and means the same to the standard library; it reads it faster.
_USUAL_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]{6})?(?:Z|\+00:00)",
    re.ASCII,
)
_FIRST_MOMENT, _LAST_MOMENT = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_LAST_MINUTE = (23, 59)
_MIDNIGHT_AS_24 = 24  # ISO 8601 names the end of a day so
_LEAP_SECOND = 60
_MINUTES_PER_HOUR = 60


def is_identifier(text: str) -> bool:
    """Whether the text may be used as a batch id, an essay id or a step name."""
    return _IDENTIFIER.match(text) is not None


def parse_time(text: str) -> datetime:
    """Return the time in UTC; without a zone it is UTC.

    24:00:00 is the next day's midnight, and so is a leap second.

    Raises:
        ValueError: the text is no time, or one that no calendar has.
        OverflowError: it is out of range.
    """
    if _USUAL_TIME.fullmatch(text):
        return datetime.fromisoformat(text)
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


def _read_moment(value: object) -> datetime:
    if not isinstance(value, str):
        raise PydanticCustomError("moment", "not a text")
    try:
        return parse_time(value)
    except (ValueError, OverflowError) as exc:
        raise PydanticCustomError("moment", "not a time of RFC 3339, with date and hour") from exc


def _check_identifier(value: str) -> str:
    if not is_identifier(value):
        raise PydanticCustomError(
            BAD_IDENTIFIER, f"not 1 to {MAX_ID_LENGTH} letters, digits or . _ ~ @ + = -"
        )
    return value


def _check_text(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError(UNSTORABLE_TEXT, "holds a NUL")
    return value


def _read_asked_moment(value: object) -> datetime:
    try:
        return parse_time(str(value))
    except OverflowError:  # just beyond the calendar, where nothing can have happened
        return _FIRST_MOMENT if str(value).startswith("0001") else _LAST_MOMENT
    except ValueError as exc:
        raise ValueError("must be a date with a time, such as 2026-01-31T12:00:00Z") from exc


def _check_printable(text: str) -> str:
    if not is_printable(text):
        raise ValueError("must have no control characters and none that change direction")
    return text


def _none_if_empty(value: str | None) -> str | None:
    return value or None


Moment = Annotated[datetime, BeforeValidator(_read_moment)]  # naive times are UTC
Identifier = Annotated[str, Field(strict=True), AfterValidator(_check_identifier)]
_AnyText = Annotated[
    str, Field(strict=True, max_length=MAX_TEXT_LENGTH), AfterValidator(_check_text)
]
Text = Annotated[_AnyText, Field(min_length=1)]
OptionalText = Annotated[_AnyText | None, AfterValidator(_none_if_empty)]
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]

AskedMoment = Annotated[datetime, BeforeValidator(_read_asked_moment)]
AskedIdentifier = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=MAX_ID_LENGTH, pattern=ID_PATTERN
    ),
]
CorrelationId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_CORRELATION_LENGTH),
    AfterValidator(_check_printable),
    Field(json_schema_extra={"pattern": PRINTABLE_PATTERN}),
]
