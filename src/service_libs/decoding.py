"""From a record's bytes to the event that its topic promises, or to why there is none. Pure.

Where most of the latest are none, as after a bad deploy, a person has to look: dead-lettering all
of them would help nobody. No message repeats a value of the payload, for it goes to logs and dead
letters.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from typing import Generic, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, ValidationError

from common_core.envelope import EventEnvelope
from common_core.fields import BAD_IDENTIFIER, UNSTORABLE_TEXT
from common_core.records import RecordPosition
from common_core.topics import EventName, find_event, topic_name
from service_libs.exceptions import DeadLetterLimitError, InvalidMessageError
from service_libs.kafka.policy import DeadLetterLimit

MAX_NAMED_FAULTS = 5
SCHEMA_VERSION = 1

_VERSIONED = re.compile(r"(?P<base>.+?)\.?[vV](?P<version>[0-9]+)", re.ASCII)
_WORDS = {"uuid_parsing": "not a UUID"}  # the library's would repeat a part of the value

Model = TypeVar("Model", bound=BaseModel)
Data = TypeVar("Data", bound=BaseModel)


class InvalidReason(StrEnum):
    """Why a record can never be applied; a closed set, part of the dead letters."""

    EMPTY_VALUE = "empty_value"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    UNKNOWN_EVENT = "unknown_event"
    EVENT_TYPE_MISMATCH = "event_type_mismatch"
    UNSUPPORTED_SCHEMA_VERSION = "unsupported_schema_version"
    SCHEMA_VIOLATION = "schema_violation"
    BAD_IDENTIFIER = BAD_IDENTIFIER
    UNSTORABLE_TEXT = UNSTORABLE_TEXT


@dataclass(frozen=True, slots=True)
class Decoded(Generic[Data]):
    """A consumed event; `sent_at` and `event_id` are its envelope's, and a copy has others."""

    name: EventName
    sent_at: datetime
    data: Data
    _event_id: UUID
    _correlation_id: UUID

    @property
    def event_id(self) -> str:
        """The id of the event, as text; most have no use for it."""
        return str(self._event_id)

    @property
    def correlation_id(self) -> str:
        """What the event belongs to, as text."""
        return str(self._correlation_id)


def decode(
    topic: str, payload: bytes | None, models: Mapping[EventName, type[Data]]
) -> Decoded[Data]:
    """Return the event that the topic promises.

    Args:
        topic: where the record was read.
        payload: its value.
        models: the events that are consumed, with the form of their data.

    Raises:
        InvalidMessageError: the payload is not one; its `reason` is an `InvalidReason`.
    """
    name = find_event(topic)
    model = models.get(name) if name else None
    if name is None or model is None:
        raise _invalid(InvalidReason.UNKNOWN_EVENT, "no event is consumed from this topic")
    parsed = _parse(payload)
    _check_schema_version(parsed)
    envelope = _validated(EventEnvelope, parsed, "envelope")
    if fault := _find_type_fault(name, envelope.event_type):
        raise _invalid(*fault)
    return Decoded(
        name,
        envelope.event_timestamp,
        _validated(model, envelope.data, "data"),
        envelope.event_id,
        envelope.correlation_id,
    )


class InvalidRecordWindow:
    """Which of the latest records were invalid, and why; one that is read again counts once."""

    def __init__(self, limit: DeadLetterLimit) -> None:
        self._limit = limit
        self._latest: dict[RecordPosition, str | None] = {}

    def check(self, poll: Mapping[RecordPosition, str | None]) -> None:
        """Judge the records of a poll, before any of them is dead-lettered.

        Args:
            poll: of each record, for what reason it is invalid, if it is.

        Raises:
            DeadLetterLimitError: with them, too many of the latest records are invalid.
        """
        if not any(poll.values()):
            return
        latest = self._latest
        for some in self._parts(poll):
            latest = self._with(latest, some)
            invalid = {one: reason for one, reason in latest.items() if reason is not None}
            is_flood = len(invalid) > self._limit.max_invalid_ratio * len(latest)
            is_much = len(invalid) >= self._limit.min_invalid_records
            if any(some.values()) and is_much and is_flood:
                raise _limit_error(invalid, among=len(latest))

    def add(self, poll: Mapping[RecordPosition, str | None]) -> None:
        """Take in the records of a poll that was handled: what is abandoned will be read again."""
        for some in self._parts(poll):
            self._latest = self._with(self._latest, some)

    def _parts(
        self, poll: Mapping[RecordPosition, str | None]
    ) -> Iterator[Mapping[RecordPosition, str | None]]:
        """Yield the poll in parts that fit the window: no invalid record leaves it unjudged.

        In each the invalid ones are last: they are what counts.
        """
        records = iter(poll.items())
        while some := list(islice(records, self._limit.window)):
            yield dict(sorted(some, key=lambda one: one[1] is not None))

    def _with(
        self,
        latest: Mapping[RecordPosition, str | None],
        poll: Mapping[RecordPosition, str | None],
    ) -> dict[RecordPosition, str | None]:
        merged = {**latest, **poll}
        return dict(islice(merged.items(), max(0, len(merged) - self._limit.window), None))


def _parse(payload: bytes | None) -> object:
    """Parse JSON; NaN, lone surrogates and endless nesting are none."""
    if not payload:
        raise _invalid(InvalidReason.EMPTY_VALUE, "the record has no value")
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as exc:
        fault = exc
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise _invalid(InvalidReason.NOT_UTF8, "the value is not UTF-8") from None
    raise _invalid(InvalidReason.NOT_JSON, f"the value is not JSON: {fault.msg}") from None


@lru_cache(maxsize=256)  # senders spell it in a few ways; the text has a bounded length
def _find_type_fault(name: EventName, spelling: str) -> tuple[InvalidReason, str] | None:
    """Return what is wrong with the type; spellings differ, so the topic decides.

    It may be that of another known event, or of another version.
    """
    for other in EventName:
        if other is not name and spelling in (other.value, topic_name(other)):
            return (
                InvalidReason.EVENT_TYPE_MISMATCH,
                f"the topic of {name.value} has an event of type {other.value}",
            )
    bases = {_split_version(own)[0] for own in (name.value, topic_name(name))}
    base, version = _split_version(spelling)
    if base in bases and version != SCHEMA_VERSION:
        return (
            InvalidReason.UNSUPPORTED_SCHEMA_VERSION,
            f"{name.value} in another version than {SCHEMA_VERSION}",
        )
    return None


def _check_schema_version(parsed: object) -> None:
    """Refuse another version before anything in it is judged by the rules of this one."""
    version = parsed.get("schema_version") if isinstance(parsed, dict) else None
    if type(version) is int and version != SCHEMA_VERSION:
        raise _invalid(
            InvalidReason.UNSUPPORTED_SCHEMA_VERSION,
            f"an envelope in another version than {SCHEMA_VERSION}",
        )


def _split_version(spelling: str) -> tuple[str, int]:
    """Return the name without its version, and the version; a name without one is the first."""
    match = _VERSIONED.fullmatch(spelling)
    return (match["base"], int(match["version"])) if match else (spelling, SCHEMA_VERSION)


def _validated(model: type[Model], value: object, part: str) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        errors = exc.errors(include_input=False, include_url=False, include_context=False)
    kinds = {error["type"] for error in errors}
    reason = InvalidReason.SCHEMA_VIOLATION
    if kinds <= {BAD_IDENTIFIER, UNSTORABLE_TEXT}:
        reason = InvalidReason(min(kinds))
    faults = [
        f"{'.'.join(map(str, (part, *error['loc'])))}: {_WORDS.get(error['type'], error['msg'])}"
        for error in errors[:MAX_NAMED_FAULTS]
    ]
    if len(errors) > MAX_NAMED_FAULTS:
        faults.append(f"and {len(errors) - MAX_NAMED_FAULTS} more")
    raise _invalid(reason, "; ".join(faults)) from None


def _invalid(reason: InvalidReason, message: str) -> InvalidMessageError:
    return InvalidMessageError(message, reason=reason.value)


def _limit_error(invalid: Mapping[RecordPosition, str], *, among: int) -> DeadLetterLimitError:
    """Return the error that says how many, of which topics and reasons, and one place."""
    topics = _counted(position.topic for position in invalid)
    reasons = _counted(invalid.values())
    last = list(invalid)[-1]
    place = f"{last.topic}:{last.partition}:{last.offset}"
    return DeadLetterLimitError(
        f"{len(invalid)} of the latest {among} records cannot be applied, so consumption stopped."
        f" Topics: {topics}. Reasons: {reasons}. One of them: {place}.",
        {
            "records": len(invalid),
            "among": among,
            "topics": topics,
            "reasons": reasons,
            "topic": last.topic,
            "partition": last.partition,
            "offset": last.offset,
        },
    )


def _counted(names: Iterable[str]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in Counter(names).most_common())
