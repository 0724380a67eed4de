"""From a record's bytes to what it says; nothing but the standard library reads them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tests.support.oracle.statements import (
    Assessment,
    Outcome,
    OwnEvent,
    Record,
    Registration,
    Statement,
    Unreadable,
)
from tests.support.oracle.times import Clocks, read_time

SPELLCHECK_TOPIC = "huleedu.batch.spellcheck.phase.completed.v1"
CJ_TOPIC = "huleedu.cj_assessment.completed.v1"
OUTCOME_TOPIC = "huleedu.els.batch.phase.outcome.v1"
REGISTERED_TOPIC = "huleedu.batch.essays.registered.v1"

SPELLCHECK = "spellcheck"
CJ = "cj_assessment"

EVENT_NAMES = {
    SPELLCHECK_TOPIC: "SpellcheckPhaseCompletedV1",
    CJ_TOPIC: "CJAssessmentCompletedV1",
    OUTCOME_TOPIC: "ELSBatchPhaseOutcomeV1",
    REGISTERED_TOPIC: "BatchEssaysRegistered",
}
_SKIPPED = ("PhaseSkippedV1", "huleedu.batch.phase.skipped.v1")
_BATCH_FIELDS = {SPELLCHECK_TOPIC: "batch_id", OUTCOME_TOPIC: "batch_id"}  # else entity_id

_ID = re.compile(r"[A-Za-z0-9._~@+=-]{1,255}")
_UUID = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_VERSIONED = re.compile(r"(.+?)\.?[vV]([0-9]+)", re.ASCII)
_MAX_TEXT = 1024  # characters
_MAX_COUNT = 2**31 - 1


class _Bad(Exception):  # noqa: N818  # never leaves this module
    pass


@dataclass(frozen=True, slots=True)
class _Fields:
    """An object of the payload, each field asked for by what it must be."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def identifier(self, name: str) -> str:
        return _identifier(self.values.get(name))

    def identifiers(self, name: str) -> list[str]:
        return [_identifier(each) for each in self.items(name)]

    def items(self, name: str) -> list[Any]:
        value = self.values.get(name)
        if not isinstance(value, list):
            raise _Bad
        return value

    def text(self, name: str) -> str:
        value = self.optional_text(name)
        if not value:
            raise _Bad
        return value

    def optional_text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > _MAX_TEXT or "\0" in value:
            raise _Bad
        return value or None

    def count(self, name: str) -> int:
        value = self.values.get(name)
        if type(value) is not int or not 0 <= value <= _MAX_COUNT:
            raise _Bad
        return value

    def time(self, name: str) -> int:
        moment = read_time(self.values.get(name))
        if moment is None:
            raise _Bad
        return moment

    def inner(self, name: str) -> "_Fields":
        return _object(self.values.get(name))


@dataclass(frozen=True, slots=True)
class _Made:
    """Where and when a record was made, as far as its envelope and Kafka know."""

    clocks: Clocks
    sent: int
    correlation: str


def read_record(record: Record) -> Statement | Unreadable | None:
    """Return what the record says, that it cannot be read, or None if no batch can be blamed."""
    content = _parse(record.value)
    try:
        envelope = _object(content)
        sent = _check_envelope(record.topic, envelope)
        data = envelope.inner("data")
        made = _Made(record.clocks, sent, str(envelope.values["correlation_id"]))
        return _READERS[record.topic](data, made)
    except _Bad:
        return _blame(record, content)


def _parse(value: bytes | None) -> object:
    """Parse strict JSON in UTF-8; None stands for what is not that."""
    try:
        content = json.loads((value or b"").decode("utf-8"), parse_constant=_refuse)
        if b"\\u" in (value or b""):
            json.dumps(content, ensure_ascii=False).encode("utf-8")  # a lone surrogate is no text
    except (ValueError, RecursionError, _Bad):
        return None
    return content


def _refuse(_: str) -> None:
    raise _Bad


def _object(value: object) -> _Fields:
    if not isinstance(value, dict):
        raise _Bad
    return _Fields(value)


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _Bad
    return value


def _check_envelope(topic: str, envelope: _Fields) -> int:
    """Return when the envelope was made."""
    values = envelope.values
    if type(values.get("schema_version", 1)) is not int or values.get("schema_version", 1) != 1:
        raise _Bad
    for name in ("event_id", "correlation_id"):
        value = values.get(name)
        if not isinstance(value, str) or not _UUID.fullmatch(value):
            raise _Bad
    if not _is_own_type(topic, envelope.text("event_type")):
        raise _Bad
    return envelope.time("event_timestamp")


def _is_own_type(topic: str, spelling: str) -> bool:
    """Spellings differ between senders; another event's name, or another version, is not ours."""
    own = (topic, EVENT_NAMES[topic])
    others = {*EVENT_NAMES, *EVENT_NAMES.values(), *_SKIPPED} - {*own}
    if spelling in others:
        return False
    base, version = _split_version(spelling)
    return version == 1 or base not in {_split_version(each)[0] for each in own}


@cache
def _split_version(spelling: str) -> tuple[str, int]:
    match = _VERSIONED.fullmatch(spelling)
    return (match[1], int(match[2])) if match else (spelling, 1)


def _words(*parts: object) -> str:
    return json.dumps(parts)


def _read_own_event(data: _Fields, made: _Made) -> Statement:
    essay, batch = data.identifier("entity_id"), data.identifier("batch_id")
    status, said = data.text("status"), data.time("timestamp")
    storage = data.optional_text("corrected_text_storage_id")
    return OwnEvent(
        batch=batch,
        clocks=made.clocks,
        said=said,
        words=_words(essay, status, said, storage),
        essay=essay,
        status=status,
    )


def _read_assessment(data: _Fields, made: _Made) -> Statement:
    batch, said, status = data.identifier("entity_id"), data.time("timestamp"), data.text("status")
    summary = data.inner("processing_summary")
    total, good, bad = (summary.count(each) for each in ("total_essays", "successful", "failed"))
    ids, failed = (summary.identifiers(f"{each}_essay_ids") for each in ("successful", "failed"))
    agrees = total == good + bad and len(ids) == len(set(ids)) == good and len(failed) == bad
    return Assessment(
        batch=batch,
        clocks=made.clocks,
        said=said,
        words=_words(said, status, total, good, bad, ids, failed, made.correlation),
        is_clean=status == "completed_successfully" and not failed and agrees,
        essays=frozenset(ids),
        named=frozenset(ids) | frozenset(failed),
        size=max(total, good + bad, len(ids) + len(failed)),
    )


def _read_outcome(data: _Fields, made: _Made) -> Statement:
    batch, phase, status = (
        data.identifier("batch_id"),
        data.identifier("phase_name"),
        data.text("phase_status"),
    )
    items = [_object(each) for each in data.items("processed_essays")]
    texts = [(each.identifier("essay_id"), each.optional_text("text_storage_id")) for each in items]
    failed = data.identifiers("failed_essay_ids")
    correlation = data.optional_text("correlation_id")
    return Outcome(
        batch=batch,
        clocks=made.clocks,
        said=made.sent,
        words=_words(phase, status, texts, failed, correlation, made.correlation),
        phase=phase,
        status=status,
        processed=frozenset(essay for essay, _ in texts),
        failed=frozenset(failed),
        size=len(texts) + len(failed),
    )


def _read_registration(data: _Fields, made: _Made) -> Statement:
    batch, count = data.identifier("entity_id"), data.count("expected_essay_count")
    ids, said, correlation = data.identifiers("essay_ids"), None, None
    if data.values.get("metadata") is not None:
        metadata = data.inner("metadata")
        correlation = metadata.optional_text("correlation_id")
        if metadata.values.get("timestamp") is not None:
            said = metadata.time("timestamp")
    return Registration(
        batch=batch,
        clocks=made.clocks,
        said=made.sent if said is None else said,
        words=_words(count, ids, said, correlation, made.correlation),
        size=max(count, len(set(ids))),
        essays=frozenset(ids),
    )


_READERS = {
    SPELLCHECK_TOPIC: _read_own_event,
    CJ_TOPIC: _read_assessment,
    OUTCOME_TOPIC: _read_outcome,
    REGISTERED_TOPIC: _read_registration,
}


def _blame(record: Record, content: object) -> Unreadable | None:
    """Return what an unreadable record puts in doubt."""
    data = content.get("data") if isinstance(content, dict) else None
    fields = _Fields(data if isinstance(data, dict) else {})
    batch = _find(fields, _BATCH_FIELDS.get(record.topic, "entity_id")) or _batch_of_key(record)
    if batch is None:
        return None
    is_own = record.topic == SPELLCHECK_TOPIC
    steps = {SPELLCHECK_TOPIC: SPELLCHECK, CJ_TOPIC: CJ}
    is_outcome = record.topic == OUTCOME_TOPIC
    return Unreadable(
        batch=batch,
        clocks=record.clocks,
        step=_find(fields, "phase_name") if is_outcome else steps.get(record.topic),
        essay=_find(fields, "entity_id") if is_own else None,
        topic=record.topic,
    )


def _find(fields: _Fields, name: str) -> str | None:
    try:
        return fields.identifier(name)
    except _Bad:
        return None


def _batch_of_key(record: Record) -> str | None:
    """The spellchecker's records are keyed by essay, all others by batch."""
    if record.topic == SPELLCHECK_TOPIC or record.key is None:
        return None
    try:
        return _find(_Fields({"key": record.key.decode("utf-8")}), "key")
    except UnicodeDecodeError:
        return None
