"""The main job, from outside: events over Kafka, questions over HTTP."""

import json
import uuid

import pytest
from redis.asyncio import Redis

from tests.support.builders import (
    assessed,
    essay_names,
    minutes,
    phase_outcome,
    registered,
    spellchecked,
)
from tests.support.neighbours import ask, get_batch, read_values, send, sender
from tests.support.stack import Stack
from tests.support.waiting import eventually

TEN = essay_names(10)
SKIPPED_TOPIC = "huleedu.batch.phase.skipped.v1"


@pytest.fixture
def batch() -> str:
    return f"batch-{uuid.uuid4().hex}"


def spellcheck_of(answer: dict[str, object]) -> dict[str, object]:
    phases = answer["phases"]
    assert isinstance(phases, list)
    return next(phase for phase in phases if phase["name"] == "spellcheck")


async def wait_for_spellcheck(address: str, batch: str, **evidence: int) -> dict[str, object]:
    """Wait until an answer is from this evidence, and is sure, and return it."""
    answer: dict[str, object] = {}

    async def is_known() -> bool:
        answer.update(await ask(address, batch))
        known = spellcheck_of(answer)["evidence"]
        assert isinstance(known, dict)
        return evidence.items() <= known.items() and not answer["degraded"]

    await eventually(is_known, timeout_seconds=40, what=f"evidence {evidence}")
    return answer


async def test_a_phase_is_pruned_when_all_ten_are_done_and_not_before(
    stack: Stack, batch: str
) -> None:
    both, skip = ["spellcheck", "cj_assessment"], ["cj_assessment"]
    with stack.serve() as (_, address):
        async with sender(stack.kafka_bootstrap_servers) as producer:
            unknown = await wait_for_spellcheck(address, batch, completed=0)
            await send(producer, [registered(batch, 10), spellchecked(batch, TEN[0])])
            one = await wait_for_spellcheck(address, batch, completed=1, total=10)
            failed = spellchecked(batch, TEN[9], "failed", minutes(1))
            await send(producer, [*(spellchecked(batch, e) for e in TEN[1:9]), failed])
            nine = await wait_for_spellcheck(address, batch, completed=9, failed=1)
            await send(producer, [spellchecked(batch, TEN[9], at=minutes(2))])
            ten = await wait_for_spellcheck(address, batch, completed=10, failed=0)
            async with Redis.from_url(stack.redis.url) as redis:
                await eventually(lambda: persisted(stack, batch, 10))
                await redis.flushall()
            wiped = await wait_for_spellcheck(address, batch, completed=10)

    answers = [answer["final_pipeline"] for answer in (unknown, one, nine, ten, wiped)]
    assert answers == [both, both, both, skip, skip]
    reasons = [spellcheck_of(answer)["reason"] for answer in (unknown, one, nine, ten, wiped)]
    assert reasons == [
        "not_started",
        "incomplete",
        "failed_essays",
        "already_completed",
        "already_completed",
    ]
    events = await read_values(stack.kafka_bootstrap_servers, SKIPPED_TOPIC, batch.encode())
    said = [json.loads(event) for event in events]
    assert {event["data"]["phase_name"] for event in said} == {"spellcheck"}
    assert len({event["event_id"] for event in said}) == 1  # the same question, asked again


async def persisted(stack: Stack, batch: str, completed: int) -> bool:
    return (await stack.count_completed([batch])).get(batch) == completed


async def test_everything_done_is_an_empty_pipeline(stack: Stack, batch: str) -> None:
    with stack.serve() as (_, address):
        async with sender(stack.kafka_bootstrap_servers) as producer:
            await send(producer, [registered(batch, 10), assessed(batch, TEN)])
            await send(producer, [phase_outcome(batch, TEN)])
            await wait_for_spellcheck(address, batch, completed=10, total=10)

            async def is_empty() -> bool:
                return not (await ask(address, batch))["final_pipeline"]

            await eventually(is_empty, what="an empty pipeline")
            answer = await ask(address, batch)
            summary = await get_batch(address, batch)

    assert "already complete" in answer["analysis_summary"]
    assert summary["outputs"]["spellcheck"] == {e: f"spellcheck-{e}" for e in TEN}


async def test_invalid_records_go_to_their_dead_letters_and_the_others_go_on(
    stack: Stack, batch: str
) -> None:
    good = spellchecked(batch, TEN[0])
    foreign = spellchecked(batch, "foreign").value.replace(
        b'"schema_version": 1', b'"schema_version": 2'
    )
    poison = [b"", b"\xff\xfe", b"{", b"null", foreign]
    with stack.serve() as (_, address):
        async with sender(stack.kafka_bootstrap_servers) as producer:
            await send(producer, [registered(batch, 1)])
            await send(producer, [good._replace(value=v, key=batch.encode()) for v in poison])
            await send(producer, [good])
            answer = await wait_for_spellcheck(address, batch, completed=1)

            async def are_dead_lettered() -> bool:
                servers, topic = stack.kafka_bootstrap_servers, f"{good.topic}.DLQ"
                return len(await read_values(servers, topic, batch.encode())) == len(poison)

            await eventually(are_dead_lettered, timeout_seconds=30, what="dead letters")

    assert answer["final_pipeline"] == ["cj_assessment"]
