"""The envelope around every event, and what a field of an event may hold.

A field that decides nothing is not declared: a fault there must not cost the evidence.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from common_core.identifiers import MAX_ID_LENGTH, is_identifier
from common_core.times import parse_time

MAX_TEXT_LENGTH = 1024  # characters
MAX_COUNT = 2**31 - 1  # what a column of the database holds

BAD_IDENTIFIER = "bad_identifier"
UNSTORABLE_TEXT = "unstorable_text"


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


class EventModel(BaseModel):
    """What came over the wire; fields of newer senders are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class EventEnvelope(EventModel):
    """The envelope of an event.

    `event_id` and `event_timestamp` are new each time a relay sends again.
    """

    event_id: UUID
    event_type: Text
    event_timestamp: Moment
    schema_version: Annotated[int, Field(strict=True, ge=1)] = 1
    correlation_id: UUID
    data: dict[str, Any]
