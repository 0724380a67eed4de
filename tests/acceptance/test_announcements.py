"""What others hear of many resolutions, when the service is asked as fast as it answers."""

import asyncio
import json
import signal
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import product

import httpx
import pytest

from tests.support.builders import assessed, phase_outcome, registered, spellchecked
from tests.support.kafka import until
from tests.support.neighbours import ask, read_values, send, sender
from tests.support.processes import ServiceProcess, serving_process

DEFINE = "/internal/v1/pipelines/define"
SKIPPED = "huleedu.batch.phase.skipped.v1"
FAILED = "huleedu.pipelines.resolution.DLQ"
CALLERS = 16
QUESTIONS = 300
STEPS = ("spellcheck", "cj_assessment", "nlp", "ai_feedback")


@asynccontextmanager
async def serving(kafka: str) -> AsyncIterator[tuple[ServiceProcess, str]]:
    """The service with its state in memory, and a real Kafka."""
    with serving_process(
        ENVIRONMENT="development",
        USE_MOCK_REPOSITORY=True,
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        KAFKA_CONSUMER_GROUP_ID=f"group-{uuid.uuid4().hex}",
        KAFKA_ENABLE_IDEMPOTENCE=False,
    ) as (process, address):
        yield process, address


async def ask_all(address: str, questions: Iterable[dict[str, str]]) -> list[httpx.Response]:
    """Ask all the questions, by as many callers as there are at a time."""
    remaining = iter(list(questions))
    answers: list[httpx.Response] = []
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:

        async def call() -> None:
            answers.extend([await client.post(DEFINE, json=one) for one in remaining])

        await asyncio.gather(*(call() for _ in range(CALLERS)))
    return answers


def question(batch: str, pipeline: str) -> dict[str, str]:
    return {
        "batch_id": batch,
        "requested_pipeline": pipeline,
        "correlation_id": str(uuid.uuid4()),
    }


@pytest.fixture
def batch() -> str:
    return f"batch-{uuid.uuid4().hex}"


async def make_complete(kafka: str, address: str, batch: str) -> None:
    """Return when the service prunes every phase of the batch."""
    outcomes = [phase_outcome(batch, ["essay-1"], phase=step) for step in ("nlp", "ai_feedback")]
    done = [spellchecked(batch, "essay-1"), assessed(batch, ["essay-1"]), *outcomes]
    async with sender(kafka) as producer:
        await send(producer, [registered(batch, 1), *done])

    async def is_complete() -> bool:
        answer = await ask(address, batch, "comprehensive")
        return not answer["final_pipeline"]

    await until(is_complete)


async def test_every_pruned_phase_is_announced_however_fast_it_is_asked_for(
    kafka_bootstrap_servers: str, batch: str
) -> None:
    """And however many failures there are beside, up to an end in the middle of it."""
    kafka = kafka_bootstrap_servers
    async with serving(kafka) as (process, address):
        await make_complete(kafka, address, batch)
        asked = [question(batch, "comprehensive") for _ in range(QUESTIONS)]
        failing = [question(batch, f"typo-{n}") for n in range(QUESTIONS)]
        pairs = zip(asked, failing, strict=True)
        answers = await ask_all(address, [one for pair in pairs for one in pair])

        process.signal(signal.SIGTERM)

        assert await asyncio.to_thread(process.wait) == 0
    assert [answer.status_code for answer in answers].count(200) == QUESTIONS
    events = [json.loads(e) for e in await read_values(kafka, SKIPPED, batch.encode())]
    said = {(event["correlation_id"], event["data"]["phase_name"]) for event in events}
    assert said >= set(product([one["correlation_id"] for one in asked], STEPS))


async def test_typing_errors_are_reported_by_a_few_letters_that_count_them(
    kafka_bootstrap_servers: str, batch: str
) -> None:
    kafka = kafka_bootstrap_servers
    async with serving(kafka) as (_, address):
        await ask_all(address, [question(batch, f"typo-{n}") for n in range(QUESTIONS)])

    letters = [json.loads(value) for value in await read_values(kafka, FAILED, batch.encode())]
    said = [letter["additional_metadata"]["occurrences"] for letter in letters]
    assert sum(said) == QUESTIONS
    assert len(said) <= 3  # at once, after a minute, and at the stop
    assert {letter["dlq_reason"] for letter in letters} == {"unknown_pipeline"}
