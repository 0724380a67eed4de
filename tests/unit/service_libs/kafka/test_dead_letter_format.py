"""A dead letter says all it must, and gives the original back byte for byte."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_libs.kafka.dead_letter_format import MAX_DOCUMENT_BYTES, OriginalRecord, subject_of
from service_libs.kafka.records import DeadLetter
from tests.support.builders import DAY, NOON
from tests.support.letters import LETTERS

LETTER = DeadLetter(
    base_topic="topic",
    reason="schema_violation",
    error_type="InvalidMessageError",
    error_message="data.batch_id: Field required",
    payload=b'{"data": {"batch_id": "b1"}, "correlation_id": "c1", "n": 1.10}',
    key=b"key",
    headers=(("trace", b"\x00\xff"),),
    partition=3,
    offset=42,
    timestamp_ms=1748779200000,
    consumer_group="group",
)

SPELLCHECKED = "huleedu.batch.spellcheck.phase.completed.v1"  # its keys are essays

payloads = st.one_of(
    st.none(),
    st.binary(max_size=200),
    st.text(max_size=100).map(str.encode),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    ).map(lambda value: json.dumps({"data": value}).encode()),
)
letters = st.builds(
    DeadLetter,
    base_topic=st.just("topic"),
    reason=st.just("not_json"),
    error_type=st.just("InvalidMessageError"),
    error_message=st.text(),
    payload=payloads,
    key=st.none() | st.binary(max_size=20),
    headers=st.lists(st.tuples(st.text(max_size=10), st.binary(max_size=20)), max_size=4),
    partition=st.none() | st.integers(0, 10),
)


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        pytest.param({}, {"batch_id": "b1", "correlation_id": "c1"}, id="an event"),
        pytest.param(
            {"payload": b'{"batch_id": "b2"}', "correlation_id": "c2"},
            {"batch_id": "b2", "correlation_id": "c2"},
            id="a question",
        ),
        pytest.param({"payload": b"\xff"}, {"batch_id": "key"}, id="the key"),
        pytest.param({"payload": b"\xff", "base_topic": SPELLCHECKED}, {}, id="an essay's key"),
        pytest.param({"payload": None, "key": None}, {}, id="nothing"),
        pytest.param({"payload": b'{"batch_id": "a b"}', "key": None}, {}, id="no identifier"),
        pytest.param({"payload": b'{"batch_id": [1]}', "key": None}, {}, id="no text"),
    ],
)
def test_what_a_letter_is_about_is_told_where_it_is_known(
    changes: dict[str, Any], subject: dict[str, str]
) -> None:
    assert subject_of(replace(LETTER, **changes)) == subject


@given(letters)
def test_the_original_comes_back_exactly(letter: DeadLetter) -> None:
    expected = OriginalRecord("topic", letter.key, letter.payload, list(letter.headers))

    for form in (LETTERS.wrap(letter, NOON), LETTERS.wrap_original(letter, NOON)):
        assert LETTERS.original_record(form.value, form.headers) == expected


def test_the_document_and_the_headers_are_those_of_the_contract() -> None:
    message = LETTERS.wrap(LETTER, NOON)

    assert message.topic == "topic.DLQ"
    assert message.key == b"key"
    assert json.loads(message.value) == {
        "schema_version": "v1",
        "service": "batch_conductor_service",
        "original_topic": "topic",
        "timestamp": f"{DAY}T12:00:00+00:00",
        "dlq_reason": "schema_violation",
        "error_info": {
            "type": "InvalidMessageError",
            "message": "data.batch_id: Field required",
        },
        "failed_event_envelope": json.loads(LETTER.payload or b""),
        "payload": (LETTER.payload or b"").decode(),
        "additional_metadata": {
            "original_key": "a2V5",
            "original_headers": [["trace", "AP8="]],
            "correlation_id": "c1",
        },
    }
    assert dict(message.headers) == {
        "bcs_dlq-original-topic": b"topic",
        "bcs_dlq-original-partition": b"3",
        "bcs_dlq-original-offset": b"42",
        "bcs_dlq-original-timestamp": b"1748779200000",
        "bcs_dlq-consumer-group": b"group",
        "bcs_dlq-reason": b"schema_violation",
        "bcs_dlq-exception-class": b"InvalidMessageError",
        "bcs_dlq-correlation-id": b"c1",
        "bcs_dlq-redrive-count": b"0",
    }


def test_an_envelope_nested_deeper_than_can_be_written_is_passed_on_as_it_is() -> None:
    payload = b'{"data":' + b"[" * 500 + b"]" * 500 + b"}"
    message = LETTERS.wrap(replace(LETTER, payload=payload), NOON)

    assert payload in message.value
    assert LETTERS.original_record(message.value, message.headers).value == payload


def test_a_correlation_id_that_is_known_goes_before_that_of_the_payload() -> None:
    message = LETTERS.wrap(replace(LETTER, correlation_id="c2"), NOON)

    assert dict(message.headers)["bcs_dlq-correlation-id"] == b"c2"


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"not json", b'"a string"', b"", None])
def test_without_an_object_there_is_no_envelope(payload: bytes | None) -> None:
    document = json.loads(LETTERS.wrap(replace(LETTER, payload=payload), NOON).value)

    assert "failed_event_envelope" not in document
    assert ("payload_encoding" in document) is (payload == b"\xff\xfe")


@pytest.mark.parametrize(
    ("key", "payload", "expected"),
    [
        (None, b'{"data": {"batch_id": "b1"}}', b"b1"),
        (None, b'{"data": {"batch_id": 7}}', None),
        (None, b'{"data": []}', None),
        (None, None, None),
        (b"", b'{"data": {"batch_id": "b1"}}', b""),
    ],
)
def test_the_key_is_the_original_key_else_the_batch_id(
    key: bytes | None, payload: bytes | None, expected: bytes | None
) -> None:
    assert LETTERS.wrap(replace(LETTER, key=key, payload=payload), NOON).key == expected


@pytest.mark.parametrize(
    ("header", "expected"), [(b"2", b"2"), (b"many", b"0"), (b"", b"0"), (b"-1", b"0")]
)
def test_the_redrive_count_of_the_record_is_carried_on(header: bytes, expected: bytes) -> None:
    letter = replace(LETTER, headers=(("bcs_dlq-redrive-count", header),))

    assert dict(LETTERS.wrap(letter, NOON).headers)["bcs_dlq-redrive-count"] == expected


@pytest.mark.parametrize(
    ("payload", "has_envelope"),
    [
        pytest.param(b'{"a": "' + b"x" * 2**20 + b'"}', True, id="twice its size"),
        pytest.param(b'{"a": "' + b'\\"' * 2**19 + b'"}', False, id="many escapes"),
        pytest.param(b"\x01" * 2**20, False, id="control characters"),
        pytest.param(b"\xff" * 2**20, False, id="not text"),
    ],
)
def test_an_original_of_the_largest_size_fits(payload: bytes, *, has_envelope: bool) -> None:
    message = LETTERS.wrap(replace(LETTER, payload=payload), NOON)

    assert len(message.value) <= MAX_DOCUMENT_BYTES
    assert ("failed_event_envelope" in json.loads(message.value)) is has_envelope
    assert LETTERS.original_record(message.value, message.headers).value == payload


def test_an_original_too_large_for_any_document_is_sent_as_it_is() -> None:
    payload = b"\xff" * MAX_DOCUMENT_BYTES

    assert LETTERS.wrap(replace(LETTER, payload=payload), NOON).value == payload


def test_without_the_record_a_dead_letter_is_small_and_says_where_the_record_is() -> None:
    huge = b"x" * 2**20
    payload = b'{"correlation_id": "%b"}' % huge
    letter = replace(LETTER, payload=payload, key=huge, headers=(("name", huge),))
    message = LETTERS.wrap_reference(letter, NOON)

    document = json.loads(message.value)
    metadata = document["additional_metadata"]
    place = [metadata[f"original_{name}"] for name in ("partition", "offset", "timestamp")]
    assert len(message.value) + sum(len(held) for _, held in message.headers) < 2000
    assert (document["payload_encoding"], document["original_topic"]) == ("omitted", "topic")
    assert place == [3, 42, 1748779200000]
    assert metadata["payload_bytes"] == len(payload)
    assert metadata["payload_sha256"] == hashlib.sha256(payload).hexdigest()
    assert message.key is None
    with pytest.raises(ValueError, match="omitted"):
        LETTERS.original_record(message.value, message.headers)


def test_without_the_record_a_dead_letter_keeps_a_key_that_is_small() -> None:
    assert LETTERS.wrap_reference(LETTER, NOON).key == LETTER.key


def test_the_error_is_one_line_of_bounded_size() -> None:
    letter = replace(LETTER, error_message="line\nline\x00" + "é" * 2000)
    info = json.loads(LETTERS.wrap(letter, NOON).value)["error_info"]

    assert info["message"].startswith("line line éé")
    assert len(json.dumps(info, ensure_ascii=False).encode()) <= 1024


@pytest.mark.parametrize("value", [b"{}", b"[]", b'{"additional_metadata": 7}', b"\xff"])
def test_what_is_no_dead_letter_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        LETTERS.original_record(value, [])
