"""What may be wrong with a record, so that it can be read in part or not at all."""

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from tests.support.oracle.statements import Record
from tests.support.oracle.wire import (
    CJ_TOPIC,
    EVENT_NAMES,
    OUTCOME_TOPIC,
    REGISTERED_TOPIC,
    SPELLCHECK_TOPIC,
)

TOO_LONG = "x" * 1025

_TEXTS = {
    SPELLCHECK_TOPIC: ("status", "corrected_text_storage_id"),
    CJ_TOPIC: ("status",),
    OUTCOME_TOPIC: ("phase_status", "correlation_id"),
    REGISTERED_TOPIC: (),
}
_IDS = {
    SPELLCHECK_TOPIC: ("entity_id", "batch_id"),
    CJ_TOPIC: ("entity_id",),
    OUTCOME_TOPIC: ("batch_id", "phase_name"),
    REGISTERED_TOPIC: ("entity_id",),
}
_LISTS = {OUTCOME_TOPIC: "failed_essay_ids", REGISTERED_TOPIC: "essay_ids"}


def spoil(record: Record, rng: Random) -> Record:
    """Return the record with one thing wrong, or at least strange."""
    return rng.choice(_HARMS)(record, rng)


def _edited(record: Record, edit: Callable[[dict[str, Any]], None]) -> Record:
    """Edit the object, if there still is one."""
    try:
        content = json.loads((record.value or b"").decode())
    except ValueError:
        return record
    if not isinstance(content, dict) or not isinstance(content.get("data"), dict):
        return record
    edit(content)
    return replace(record, value=json.dumps(content).encode())


def _in_data(record: Record, name: str, value: object) -> Record:
    return _edited(record, lambda content: content["data"].update({name: value}))


def _in_envelope(record: Record, name: str, value: object) -> Record:
    return _edited(record, lambda content: content.update({name: value}))


def _other_version(record: Record, rng: Random) -> Record:
    return _in_envelope(record, "schema_version", rng.choice([2, 2, 2, 0, True, "1", None]))


def _other_type(record: Record, rng: Random) -> Record:
    own = EVENT_NAMES[record.topic]
    others = [name for name in EVENT_NAMES.values() if name != own]
    newer = own.removesuffix("V1") + "V2"
    harmless = ["", record.topic, own.lower(), "something.else.v3"]
    return _in_envelope(record, "event_type", rng.choice([*others, newer, *harmless]))


def _bad_envelope(record: Record, rng: Random) -> Record:
    name = rng.choice(["event_id", "correlation_id", "event_timestamp", "data"])
    return _in_envelope(record, name, rng.choice([None, "no", 5, []]))


def _strange_envelope(record: Record, rng: Random) -> Record:
    """What decides nothing, so that a fault there costs nothing."""
    name = rng.choice(["source_service", "data_schema_uri", "metadata", "trace_id"])
    return _in_envelope(record, name, rng.choice([None, 5, TOO_LONG, {"a": [1]}]))


def _bad_text(record: Record, rng: Random) -> Record:
    names = _TEXTS[record.topic] or ("metadata",)
    value = rng.choice([TOO_LONG, TOO_LONG, "a\0b", "", None, 7, "x" * 1024, "Ä"])
    return _in_data(record, rng.choice(names), value)


def _bad_id(record: Record, rng: Random) -> Record:
    value = rng.choice(["a b", "", "x" * 256, None, 7, "a:b", "a\n"])
    return _in_data(record, rng.choice(_IDS[record.topic]), value)


def _bad_list(record: Record, rng: Random) -> Record:
    name = _LISTS.get(record.topic)
    if name is None:
        return _missing_field(record, rng)
    return _in_data(record, name, rng.choice([None, "e1", ["e 1"], [["e1"]], [None]]))


def _missing_field(record: Record, rng: Random) -> Record:
    def remove(content: dict[str, Any]) -> None:
        content["data"].pop(rng.choice(sorted(content["data"])))

    return _edited(record, remove)


def _bad_count(record: Record, rng: Random) -> Record:
    value = rng.choice([-1, 2**31, 2.0, True, "2", None])
    if record.topic == REGISTERED_TOPIC:
        return _in_data(record, "expected_essay_count", value)
    if record.topic != CJ_TOPIC:
        return _other_version(record, rng)
    name = rng.choice(["total_essays", "successful", "failed"])

    def count_otherwise(content: dict[str, Any]) -> None:
        summary = content["data"].get("processing_summary")
        content["data"]["processing_summary"] = (summary or {}) | {name: value}

    return _edited(record, count_otherwise)


def _bad_time(record: Record, rng: Random) -> Record:
    value = rng.choice(
        [
            "",
            "soon",
            5,
            None,
            "2026-11-25",
            "2026-13-01T00:00Z",
            "2026-11-25T25:00Z",
            "0000-01-01T00:00Z",
        ]
    )
    if record.topic in (SPELLCHECK_TOPIC, CJ_TOPIC):
        return _in_data(record, "timestamp", value)
    return _in_envelope(record, "event_timestamp", value)


def _broken_bytes(record: Record, rng: Random) -> Record:
    value = record.value or b"{}"
    return replace(
        record,
        value=rng.choice(
            [None, b"", value[:-1], value + b"}", b"\xff" + value, b"[]", b"NaN", b'"\\ud800"']
        ),
    )


def _broken_inside(record: Record, rng: Random) -> Record:
    """Nothing in it may be used, for it is no JSON, however well its fields look."""
    value = record.value or b"{}"
    added = rng.choice([b'{"a": NaN, ', b'{"a": "\\udc00", ', b'{"a": "\xe4", ', b'{"a": 01, '])
    return replace(record, value=added + value[1:])


def _other_key(record: Record, rng: Random) -> Record:
    return replace(record, key=rng.choice([None, b"", b"another", b"\xff", b"the-batch"]))


def _twice(record: Record, rng: Random) -> Record:
    return spoil(spoil(record, rng), rng)


_HARMS = (
    _other_version,
    _other_version,
    _other_type,
    _bad_envelope,
    _strange_envelope,
    _bad_text,
    _bad_text,
    _bad_id,
    _bad_list,
    _missing_field,
    _bad_count,
    _bad_time,
    _broken_bytes,
    _broken_inside,
    _other_key,
    _twice,
)
