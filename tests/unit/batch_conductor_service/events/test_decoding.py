import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_conductor_service.events.consumed import DecodedEvent
from common_core.events import (
    BatchEssaysRegistered,
    CJAssessmentCompletedV1,
    ELSBatchPhaseOutcomeV1,
    SpellcheckPhaseCompletedV1,
)
from common_core.fields import MAX_COUNT, MAX_TEXT_LENGTH
from common_core.topics import EventName, consumed_topics, find_event, topic_name
from service_libs.decoding import MAX_NAMED_FAULTS, InvalidReason
from service_libs.exceptions import InvalidMessageError
from tests.support.builders import (
    NOON,
    RecordedEvent,
    assessed,
    minutes,
    phase_outcome,
    registered,
    spellchecked,
)
from tests.support.decoding import decode_event

TOPIC = topic_name(EventName.SPELLCHECK_PHASE_COMPLETED)
MARK = "top-secret-value"  # a value that no message may repeat


def decode(event: RecordedEvent) -> DecodedEvent:
    return decode_event(event.topic, event.value)


def changed(event: RecordedEvent, path: str, value: object) -> RecordedEvent:
    """Return the event with another value at the dotted path; `...` removes it."""
    whole = json.loads(event.value)
    *parents, last = path.split(".")
    place: Any = whole
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return event._replace(value=json.dumps(whole).encode())


def refusal(topic: str, payload: bytes | None) -> tuple[InvalidReason, str]:
    with pytest.raises(InvalidMessageError) as caught:
        decode_event(topic, payload)
    return InvalidReason(caught.value.reason), str(caught.value)


def refusal_of(event: RecordedEvent) -> tuple[InvalidReason, str]:
    return refusal(event.topic, event.value)


def test_a_spellchecked_essay_is_read() -> None:
    event = decode(spellchecked("batch", "essay", at=minutes(1), sent_at=minutes(5)))

    assert event.name is EventName.SPELLCHECK_PHASE_COMPLETED
    assert event.sent_at == minutes(5)
    assert event.data == SpellcheckPhaseCompletedV1(
        entity_id="essay",
        batch_id="batch",
        status="completed",
        corrected_text_storage_id="corrected-essay",
        timestamp=minutes(1).isoformat(),
    )


def test_the_envelope_gives_the_ids() -> None:
    recorded = spellchecked("batch", "essay")
    envelope = json.loads(recorded.value)

    event = decode(recorded)

    assert event.event_id == envelope["event_id"]
    assert event.correlation_id == envelope["correlation_id"]


def test_an_assessment_is_read() -> None:
    data = decode(assessed("batch", ["a", "b"], ["c"])).data

    assert isinstance(data, CJAssessmentCompletedV1)
    assert data.batch_id == "batch"
    assert data.processing_summary.successful_essay_ids == ("a", "b")
    assert data.processing_summary.failed_essay_ids == ("c",)
    assert data.processing_summary.total_essays == 3


def test_a_phase_outcome_is_read() -> None:
    data = decode(phase_outcome("batch", ["a"], ["b"])).data

    assert isinstance(data, ELSBatchPhaseOutcomeV1)
    assert (data.batch_id, data.phase_name) == ("batch", "spellcheck")
    assert data.phase_status == "completed_with_failures"
    assert [(e.essay_id, e.text_storage_id) for e in data.processed_essays] == [
        ("a", "spellcheck-a")
    ]
    assert data.failed_essay_ids == ("b",)


def test_a_registration_is_read() -> None:
    data = decode(registered("batch", 2)).data

    assert isinstance(data, BatchEssaysRegistered)
    assert (data.batch_id, data.expected_essay_count) == ("batch", 2)
    assert data.essay_ids == ("essay-1", "essay-2")
    assert data.metadata is not None
    assert data.metadata.timestamp == NOON


@pytest.mark.parametrize("metadata", [..., None, {}])
def test_a_registration_needs_no_metadata(metadata: object) -> None:
    data = decode(changed(registered("batch", 2), "data.metadata", metadata)).data

    assert isinstance(data, BatchEssaysRegistered)
    assert data.expected_essay_count == 2


@pytest.mark.parametrize("path", ["new_field", "data.new_field", "data.metadata.new_field"])
def test_fields_of_newer_senders_are_ignored(path: str) -> None:
    original = registered("batch", 2)

    assert decode(changed(original, path, {"any": ["thing"]})) == decode(original)


def test_a_fault_in_a_field_that_decides_nothing_does_not_cost_the_evidence() -> None:
    original = spellchecked("batch", "essay")

    assert decode(changed(original, "data.processing_duration_ms", "long")) == decode(original)


@pytest.mark.parametrize(
    "spelling", ["2025-06-01T12:00:00z", "2025-06-01T14:00:00+02:00", "2025-06-01T12:00"]
)
def test_times_are_made_utc(spelling: str) -> None:
    data = decode(changed(spellchecked("batch", "essay"), "data.timestamp", spelling)).data

    assert isinstance(data, SpellcheckPhaseCompletedV1)
    assert (data.timestamp, data.timestamp.tzinfo) == (datetime(2025, 6, 1, 12, tzinfo=UTC), UTC)


@pytest.mark.parametrize("status", ["in_progress", "COMPLETED", "abandoned", "x" * MAX_TEXT_LENGTH])
def test_a_status_that_this_version_does_not_know_is_read(status: str) -> None:
    data = decode(changed(spellchecked("batch", "essay"), "data.status", status)).data

    assert isinstance(data, SpellcheckPhaseCompletedV1)
    assert data.status == status


def test_an_empty_storage_id_is_none() -> None:
    event = changed(spellchecked("batch", "essay"), "data.corrected_text_storage_id", "")

    data = decode(event).data

    assert isinstance(data, SpellcheckPhaseCompletedV1)
    assert data.corrected_text_storage_id is None


@pytest.mark.parametrize(
    "spelling",
    [
        EventName.SPELLCHECK_PHASE_COMPLETED.value,
        TOPIC,
        TOPIC.removesuffix(".v1"),
        "spelt.otherwise",
        "spelt.otherwise.v2",
    ],
)
def test_the_topic_decides_however_the_event_type_is_spelt(spelling: str) -> None:
    event = decode(changed(spellchecked("batch", "essay"), "event_type", spelling))

    assert event.name is EventName.SPELLCHECK_PHASE_COMPLETED


@pytest.mark.parametrize(
    "other", [e for e in EventName if e is not EventName.SPELLCHECK_PHASE_COMPLETED]
)
@pytest.mark.parametrize("is_topic", [True, False])
def test_an_event_of_another_topic_is_refused(other: EventName, *, is_topic: bool) -> None:
    spelling = topic_name(other) if is_topic else other.value

    reason, message = refusal_of(changed(spellchecked("b", "e"), "event_type", spelling))

    assert reason is InvalidReason.EVENT_TYPE_MISMATCH
    assert other.value in message


@pytest.mark.parametrize(
    ("event", "spelling"),
    [
        (spellchecked("b", "e"), "SpellcheckPhaseCompletedV2"),
        (spellchecked("b", "e"), "huleedu.batch.spellcheck.phase.completed.v2"),
        (spellchecked("b", "e"), "huleedu.batch.spellcheck.phase.completed.v0"),
        (spellchecked("b", "e"), "huleedu.batch.spellcheck.phase.completed.v11"),
        (assessed("b", ["e"]), "CJAssessmentCompletedV3"),
        (phase_outcome("b", ["e"]), "huleedu.els.batch.phase.outcome.v2"),
        (registered("b", 1), "BatchEssaysRegisteredV2"),
    ],
)
def test_an_event_of_another_version_is_refused(event: RecordedEvent, spelling: str) -> None:
    reason, _ = refusal_of(changed(event, "event_type", spelling))

    assert reason is InvalidReason.UNSUPPORTED_SCHEMA_VERSION


@pytest.mark.parametrize("version", [-1, 0, 2, 10**9])
def test_an_envelope_of_another_version_is_refused_whatever_else_it_has(version: int) -> None:
    event = changed(spellchecked("b", "e"), "data", ...)

    reason, _ = refusal_of(changed(event, "schema_version", version))

    assert reason is InvalidReason.UNSUPPORTED_SCHEMA_VERSION


def test_an_envelope_without_a_version_is_of_the_first() -> None:
    original = spellchecked("b", "e")

    assert decode(changed(original, "schema_version", ...)) == decode(original)


@pytest.mark.parametrize("topic", ["strange", topic_name(EventName.PHASE_SKIPPED)])
def test_a_topic_that_is_not_consumed_has_no_events(topic: str) -> None:
    assert refusal(topic, spellchecked("b", "e").value)[0] is InvalidReason.UNKNOWN_EVENT


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (None, InvalidReason.EMPTY_VALUE),
        (b"", InvalidReason.EMPTY_VALUE),
        (b"\xff\xfe", InvalidReason.NOT_UTF8),
        (b'{"a": "\xed\xa0\x80"}', InvalidReason.NOT_UTF8),
        (b"{", InvalidReason.NOT_JSON),
        (b"NaN", InvalidReason.NOT_JSON),
        (b'{"data": Infinity}', InvalidReason.NOT_JSON),
        (b'{"a": "\\ud800"}', InvalidReason.NOT_JSON),
        (b"[" * 100_000 + b"]" * 100_000, InvalidReason.NOT_JSON),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, InvalidReason.NOT_JSON),
        (b"null", InvalidReason.SCHEMA_VIOLATION),
        (b"[]", InvalidReason.SCHEMA_VIOLATION),
        (b'"text"', InvalidReason.SCHEMA_VIOLATION),
        (b"{}", InvalidReason.SCHEMA_VIOLATION),
    ],
)
def test_bytes_that_are_no_envelope_are_refused(
    payload: bytes | None, reason: InvalidReason
) -> None:
    assert refusal(TOPIC, payload)[0] is reason


BAD_TEXTS: list[object] = [..., None, 5, ["x"], {"x": 1}]
BAD_TIMES: list[object] = [
    *BAD_TEXTS,
    MARK,
    "",
    "1717243200",
    "2025-06-01",
    "2025-06-01T12",
    "2025-13-01T12:00:00Z",
    "0001-01-01T00:00:00+01:00",
]
BAD_COUNTS: list[object] = [..., None, -1, 1.5, True, "3", MAX_COUNT + 1, 10**30, [3]]
BAD_LISTS: list[object] = [..., None, 5, "essay", {"essay": 1}, [None], [5], [["essay"]]]
CASES: list[tuple[RecordedEvent, str, list[object]]] = [
    (spellchecked("b", "e"), "event_id", [*BAD_TEXTS, MARK]),
    (spellchecked("b", "e"), "correlation_id", [*BAD_TEXTS, MARK]),
    (spellchecked("b", "e"), "event_type", [*BAD_TEXTS, ""]),
    (spellchecked("b", "e"), "event_timestamp", BAD_TIMES),
    (spellchecked("b", "e"), "schema_version", [None, "1", 1.5, True]),
    (spellchecked("b", "e"), "data", [*BAD_TEXTS, {}]),
    (spellchecked("b", "e"), "data.entity_id", BAD_TEXTS),
    (spellchecked("b", "e"), "data.batch_id", BAD_TEXTS),
    (spellchecked("b", "e"), "data.status", [*BAD_TEXTS, "", "x" * (MAX_TEXT_LENGTH + 1)]),
    (spellchecked("b", "e"), "data.timestamp", BAD_TIMES),
    (spellchecked("b", "e"), "data.corrected_text_storage_id", [5, "x" * (MAX_TEXT_LENGTH + 1)]),
    (assessed("b", ["e"]), "data.status", [*BAD_TEXTS, ""]),
    (assessed("b", ["e"]), "data.timestamp", BAD_TIMES),
    (assessed("b", ["e"]), "data.processing_summary", BAD_TEXTS),
    (assessed("b", ["e"]), "data.processing_summary.total_essays", BAD_COUNTS),
    (assessed("b", ["e"]), "data.processing_summary.successful", BAD_COUNTS),
    (assessed("b", ["e"]), "data.processing_summary.failed", BAD_COUNTS),
    (assessed("b", ["e"]), "data.processing_summary.successful_essay_ids", BAD_LISTS),
    (assessed("b", ["e"]), "data.processing_summary.failed_essay_ids", BAD_LISTS),
    (phase_outcome("b", ["e"]), "data.phase_name", BAD_TEXTS),
    (phase_outcome("b", ["e"]), "data.phase_status", [*BAD_TEXTS, ""]),
    (phase_outcome("b", ["e"]), "data.processed_essays", [*BAD_LISTS, ["essay"], [{}]]),
    (phase_outcome("b", ["e"]), "data.failed_essay_ids", BAD_LISTS),
    (registered("b", 1), "data.expected_essay_count", BAD_COUNTS),
    (registered("b", 1), "data.essay_ids", BAD_LISTS),
    (registered("b", 1), "data.metadata", [5, "x", []]),
    (registered("b", 1), "data.metadata.timestamp", [5, MARK, "2025-06-01"]),
    (phase_outcome("b", ["e"]), "event_timestamp", BAD_TIMES),
]


@pytest.mark.parametrize(
    ("event", "path", "value"),
    [
        pytest.param(event, path, value, id=f"{path}={str(value)[:20]}")
        for event, path, values in CASES
        for value in values
    ],
)
def test_a_bad_value_is_refused_with_its_place_and_not_repeated(
    event: RecordedEvent, path: str, value: object
) -> None:
    reason, message = refusal_of(changed(event, path, value))

    assert reason is InvalidReason.SCHEMA_VIOLATION
    assert path.removeprefix("data.") in message
    assert MARK not in message


@pytest.mark.parametrize(
    ("event", "path"),
    [
        (spellchecked("b", "e"), "data.entity_id"),
        (spellchecked("b", "e"), "data.batch_id"),
        (assessed("b", ["e"]), "data.entity_id"),
        (phase_outcome("b", ["e"]), "data.batch_id"),
        (phase_outcome("b", ["e"]), "data.phase_name"),
        (registered("b", 1), "data.entity_id"),
    ],
)
@pytest.mark.parametrize("value", ["", "a:b", "{a}", "a*", "a\0b", f"{MARK} ", "x" * 256, "é"])
def test_an_id_that_could_reach_another_key_is_refused(
    event: RecordedEvent, path: str, value: str
) -> None:
    reason, message = refusal_of(changed(event, path, value))

    assert reason is InvalidReason.BAD_IDENTIFIER
    assert MARK not in message


@pytest.mark.parametrize(
    ("event", "path"),
    [
        (spellchecked("b", "e"), "data.corrected_text_storage_id"),
        (spellchecked("b", "e"), "data.status"),
        (assessed("b", ["e"]), "data.status"),
        (phase_outcome("b", ["e"]), "data.phase_status"),
        (phase_outcome("b", ["e"]), "data.correlation_id"),
    ],
)
def test_a_text_that_no_database_stores_is_refused(event: RecordedEvent, path: str) -> None:
    assert refusal_of(changed(event, path, "a\0b"))[0] is InvalidReason.UNSTORABLE_TEXT


def test_a_message_names_only_the_first_of_many_faults() -> None:
    event = changed(registered("b", 1), "data.essay_ids", ["a b"] * 1_000)

    _, message = refusal_of(event)

    assert message.count("essay_ids") == MAX_NAMED_FAULTS
    assert message.endswith("; and 995 more")


@given(st.binary(), st.sampled_from(consumed_topics()))
def test_random_bytes_are_refused_and_nothing_else_happens(payload: bytes, topic: str) -> None:
    refusal(topic, payload)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)


@given(JSON, st.sampled_from(CASES))
def test_a_random_value_is_read_or_refused(
    value: object, case: tuple[RecordedEvent, str, list[object]]
) -> None:
    event, path, _ = case

    with suppress(InvalidMessageError):
        assert decode(changed(event, path, value)).name is find_event(event.topic)
