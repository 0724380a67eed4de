"""What a record is about that cannot be read, as far as that can be seen."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_conductor_service.events.consumed import RecordSubject, find_subject
from common_core.fields import is_identifier
from common_core.topics import EventName, consumed_topics, topic_name
from tests.support.builders import (
    RecordedEvent,
    assessed,
    phase_outcome,
    registered,
    spellchecked,
)
from tests.support.fuzzing import mutated_json

SPELLCHECKED = spellchecked("batch", "essay")
ASSESSED = assessed("batch", ["essay"])
OUTCOME = phase_outcome("batch", ["essay"], phase="nlp")
REGISTERED = registered("batch", 1)
KEYED_BY_BATCH = [ASSESSED, OUTCOME, REGISTERED]


def subject_of(event: RecordedEvent, **data: object) -> RecordSubject | None:
    """Return what the event is about, with other data than it has."""
    whole = json.loads(event.value)
    whole["data"].update(data)
    return find_subject(event.topic, event.key, json.dumps(whole).encode())


@pytest.mark.parametrize(
    ("event", "essay_id", "phase_name"),
    [
        (SPELLCHECKED, "essay", None),
        (ASSESSED, None, None),
        (OUTCOME, None, "nlp"),
        (REGISTERED, None, None),
    ],
)
def test_a_record_tells_its_batch_and_what_of_it_it_is_about(
    event: RecordedEvent, essay_id: str | None, phase_name: str | None
) -> None:
    subject = subject_of(event)

    assert subject is not None
    assert topic_name(subject.event) == event.topic
    assert (subject.batch_id, subject.essay_id, subject.phase_name) == (
        "batch",
        essay_id,
        phase_name,
    )


@pytest.mark.parametrize("version", [2, "1", None])
def test_no_other_rule_keeps_a_record_from_being_seen(version: object) -> None:
    whole = json.loads(SPELLCHECKED.value) | {"schema_version": version, "event_id": "none"}
    del whole["event_timestamp"]
    whole["data"]["error_code"] = "x" * 5_000

    subject = find_subject(SPELLCHECKED.topic, None, json.dumps(whole).encode())

    assert subject == RecordSubject(
        event=EventName.SPELLCHECK_PHASE_COMPLETED, batch_id="batch", essay_id="essay"
    )


@pytest.mark.parametrize("event", KEYED_BY_BATCH)
@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"\xff", b"[]", b"null", b"{}", b'{"data": 5}', b'{"data": {}}']
)
def test_where_the_value_does_not_tell_the_batch_the_key_does(
    event: RecordedEvent, value: bytes | None
) -> None:
    subject = find_subject(event.topic, b"from-the-key", value)

    assert subject is not None
    assert (subject.batch_id, subject.phase_name) == ("from-the-key", None)


def test_the_value_goes_before_the_key() -> None:
    subject = find_subject(OUTCOME.topic, b"from-the-key", OUTCOME.value)

    assert subject is not None
    assert subject.batch_id == "batch"


@pytest.mark.parametrize("value", [None, b"{", b'{"data": {"entity_id": "essay"}}'])
def test_the_key_of_an_essay_s_record_is_no_batch(value: bytes | None) -> None:
    assert find_subject(SPELLCHECKED.topic, b"essay", value) is None


@pytest.mark.parametrize("event", KEYED_BY_BATCH)
@pytest.mark.parametrize("key", [None, b"", b"a:b", b"\xff", b"a*", b"x" * 256])
def test_what_is_no_identifier_is_no_batch(event: RecordedEvent, key: bytes | None) -> None:
    for bad in ("a:b", "", "x" * 256, 5, None, ["batch"]):
        whole = json.loads(event.value)
        whole["data"] |= {"batch_id": bad, "entity_id": bad}

        assert find_subject(event.topic, key, json.dumps(whole).encode()) is None


@pytest.mark.parametrize("bad", ["a:b", "", "x" * 256, 5, None, ["essay"]])
def test_an_essay_or_a_phase_that_is_no_identifier_is_not_seen(bad: object) -> None:
    essay, phase = subject_of(SPELLCHECKED, entity_id=bad), subject_of(OUTCOME, phase_name=bad)

    assert essay is not None
    assert phase is not None
    assert (essay.batch_id, essay.essay_id) == ("batch", None)
    assert (phase.batch_id, phase.phase_name) == ("batch", None)


@pytest.mark.parametrize("topic", ["strange", topic_name(EventName.PHASE_SKIPPED)])
def test_a_topic_that_is_not_consumed_is_about_nothing(topic: str) -> None:
    assert find_subject(topic, b"batch", OUTCOME.value) is None


keys = st.none() | st.binary(max_size=9) | st.just(b"batch")
values = st.none() | st.binary(max_size=50) | mutated_json(st.sampled_from([SPELLCHECKED.value]))


@given(st.sampled_from(consumed_topics()), keys, values)
def test_whatever_is_seen_may_become_a_key(
    topic: str, key: bytes | None, value: bytes | None
) -> None:
    subject = find_subject(topic, key, value)

    if subject is not None:
        seen = (subject.batch_id, subject.essay_id, subject.phase_name)
        assert all(is_identifier(one) for one in seen if one is not None)
