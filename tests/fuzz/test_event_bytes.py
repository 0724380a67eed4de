"""Whatever bytes a topic has: each record ends as an update or as a dead letter with a reason."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from batch_conductor_service.consuming.handling import PollHandler
from batch_conductor_service.consuming.phase_tracking import to_update
from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.resolution import judge_step
from batch_conductor_service.events.consumed import find_subject
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId, BatchUpdate, StepName
from batch_conductor_service.persisting.codec import decode_update, encode_update
from common_core.records import RecordPosition
from common_core.topics import consumed_topics
from service_libs.decoding import InvalidReason
from service_libs.exceptions import InvalidMessageError
from service_libs.kafka.policy import DeadLetterLimit
from service_libs.kafka.records import ConsumedRecord, Record
from service_libs.timing import SystemClock
from tests.support.builders import (
    RecordedEvent,
    assessed,
    phase_outcome,
    registered,
    spellchecked,
)
from tests.support.consuming import ControlledDlq, ControlledRepository
from tests.support.decoding import decode_event
from tests.support.fuzzing import STRANGE_JSON, json_values, mutated_json, tries
from tests.support.letters import LETTERS
from tests.support.pipelines import DEPENDENCIES

VALID = (
    spellchecked("batch", "essay-1"),
    spellchecked("batch", "essay-2", "failed"),
    assessed("batch", ["essay-1"], ["essay-2"]),
    phase_outcome("batch", ["essay-1"], ["essay-2"]),
    registered("batch", 2),
)
VALID_BYTES = st.sampled_from([event.value for event in VALID])
TOPICS = st.sampled_from(consumed_topics())
INT64 = st.integers(-(2**63), 2**63 - 1)

# By name: an event has a new id each time, and a test is found again by its own.
CORPUS = {f"{one[:20]!r} of {len(one)} bytes": one for one in STRANGE_JSON} | {
    "a byte order mark": b"\xef\xbb\xbf" + VALID[0].value,
    "UTF-16": VALID[0].value.decode().encode("utf-16"),
    "an event twice": VALID[0].value + VALID[0].value,
    "an event without its end": VALID[0].value[:-1],
    "a byte too many": VALID[0].value + b"\x00",
    "as a schema registry's serialiser begins": b"\x00\x00\x00\x00\x01" + VALID[0].value,
    "a list of an event": b"[" + VALID[0].value + b"]",
}

T = TypeVar("T")


def update_or_reason(topic: str, payload: bytes | None) -> BatchUpdate | InvalidReason:
    position = RecordPosition(topic=topic, partition=0, offset=0)
    try:
        return to_update(decode_event(topic, payload), position)
    except InvalidMessageError as exc:
        return InvalidReason(exc.reason)


def check(topic: str, payload: bytes | None) -> None:
    """Check that the payload is refused, or says something that can wait for Postgres."""
    ended = update_or_reason(topic, payload)
    if isinstance(ended, BatchUpdate):
        assert decode_update(encode_update(ended)) == replace(ended, positions=())
        assert ended.evidence or ended.outcomes or ended.registrations
        state = BatchState(ended.batch_id)
        state.merge(ended)
        for step in (summary := state.summarise(DEPENDENCIES)).steps:
            assert judge_step(summary, step).completed >= 0


@pytest.mark.parametrize("payload", CORPUS.values(), ids=CORPUS)
@pytest.mark.parametrize("topic", consumed_topics())
def test_every_payload_of_the_corpus_is_refused(topic: str, payload: bytes) -> None:
    assert isinstance(update_or_reason(topic, payload), InvalidReason)


@tries(100)
@given(TOPICS, st.binary(max_size=300) | json_values)
def test_any_bytes_are_read_or_refused(topic: str, payload: bytes) -> None:
    check(topic, payload)


@tries(250)
@given(st.sampled_from(VALID), st.data())
def test_a_mutated_event_is_read_or_refused(event: RecordedEvent, data: st.DataObject) -> None:
    check(event.topic, data.draw(mutated_json(st.just(event.value))))


def record(
    topic: str, offset: int, value: bytes | None, *, timestamp: int = -1, key: bytes | None = None
) -> Record:
    return ConsumedRecord(
        topic=topic,
        partition=0,
        offset=offset,
        timestamp=timestamp,
        key=key,
        value=value,
        headers=[("a header", b"\xff")],
    )


async def at_once(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try once: nothing is unavailable here."""
    return await attempt()


def is_about_a_batch(one: Record) -> bool:
    return find_subject(one.topic, one.key, one.value) is not None


def new_handler() -> tuple[PollHandler, ControlledRepository, ControlledDlq]:
    repository, dlq = ControlledRepository(), ControlledDlq()
    policy = ConsumerPolicy(
        bootstrap_servers="", group_id="group", dlq_limit=DeadLetterLimit(max_invalid_ratio=1)
    )
    metrics = Metrics(CollectorRegistry())
    handler = PollHandler(repository, dlq, policy, metrics, SystemClock(), DEPENDENCIES)
    return handler, repository, dlq


strange_records = st.tuples(
    TOPICS | st.just("a topic of nobody"),
    st.none() | st.binary(max_size=50) | mutated_json(VALID_BYTES),
    INT64,
    st.none() | st.binary(max_size=5),
)


@tries(100)
@given(st.lists(strange_records, max_size=6), st.integers(0, 6))
@example([(VALID[0].topic, VALID[0].value, 2**63 - 1, None)], 0)
@example([(VALID[0].topic, VALID[0].value, 253_402_300_799_000, None)], 0)
async def test_a_poll_with_strange_records_is_handled_to_its_end(
    strange: list[tuple[str, bytes | None, int, bytes | None]], place: int
) -> None:
    """None is lost: each is applied or dead-lettered so that it can be had back byte for byte.

    What is dead-lettered is applied as well, as a doubt, where its batch can be seen.
    """
    handler, repository, dlq = new_handler()
    good = spellchecked("a-good-batch", "essay-1")
    records = [
        record(topic, offset, value, timestamp=timestamp, key=key)
        for offset, (topic, value, timestamp, key) in enumerate(strange)
    ]
    records.insert(place, record(good.topic, len(strange), good.value))

    handled = await handler.handle(records, at_once)

    assert [position.offset for position, _ in handled] == [one.offset for one in records]
    lettered = [letter.offset for letter in dlq.letters if letter.offset is not None]
    applied = [position.offset for position in repository.applied]
    by_offset = {one.offset: one for one in records}
    assert len(lettered) == len(set(lettered))
    assert len(applied) == len(set(applied))
    assert {*lettered, *applied} == by_offset.keys()
    assert len(strange) in {*applied}.difference(lettered)
    assert {*lettered}.intersection(applied) == {
        offset for offset in lettered if is_about_a_batch(by_offset[offset])
    }
    for letter in dlq.letters:
        assert InvalidReason(letter.reason)
        message = LETTERS.wrap(letter, datetime.now(UTC))
        original = LETTERS.original_record(message.value, message.headers)
        assert letter.offset is not None
        assert (original.value, original.key) == (
            by_offset[letter.offset].value,
            by_offset[letter.offset].key,
        )


@pytest.mark.parametrize("recorded", ["never", "now", "when it says"])
async def test_a_success_from_the_future_completes_nothing(recorded: str) -> None:
    handler, repository, _ = new_handler()
    now = datetime.now(UTC)
    ahead = now + timedelta(days=30)
    timestamp = {"never": -1, "now": milliseconds(now)}.get(recorded, milliseconds(ahead))
    event = spellchecked("batch", "essay-1", at=ahead)

    await handler.handle([record(event.topic, 0, event.value, timestamp=timestamp)], at_once)

    summary = (await repository.get_summary(BatchId("batch"))).summary
    assert summary.steps[StepName("spellcheck")].completed == 0


def milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
