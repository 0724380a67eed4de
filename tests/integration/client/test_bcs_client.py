"""The client of BCS, against the service itself and against servers that misbehave."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from batch_conductor_client import (
    BatchConductorClient,
    BatchKnown,
    BatchUnknown,
    ClientPolicy,
    NothingToDo,
    Refused,
    ResolutionOutcome,
    Resolved,
    Unavailable,
    UnknownPipeline,
)
from common_core.define import DefineRequest
from service_libs.breakers import FAILURES_TO_OPEN
from service_libs.exceptions import StoreUnavailableError
from service_libs.http.listener import Listener
from service_libs.http.process import hypercorn_config
from service_libs.http.server import serve_http
from tests.support.api import TestedApp
from tests.support.builders import evidence, registration, update
from tests.support.scripted_http import (
    Answer,
    break_off,
    drip,
    hang_up,
    says,
    scripted,
    silence,
)

QUESTION = DefineRequest(
    batch_id="batch-1", requested_pipeline="spellcheck", correlation_id="correlation-1"
)
RUN: dict[str, Any] = {
    "batch_id": "batch-1",
    "final_pipeline": ["spellcheck"],
    "analysis_summary": "One phase runs.",
    "requested_pipeline": "spellcheck",
    "pipeline_version": "1",
    "degraded": False,
    "correlation_id": "correlation-1",
    "known_until": None,
    "phases": [
        {
            "name": "spellcheck",
            "verdict": "run",
            "reason": "not_started",
            "evidence": {
                "completed": 0,
                "failed": 0,
                "total": None,
                "outcome": None,
                "completed_at": None,
            },
        }
    ],
}


@asynccontextmanager
async def served(tested: TestedApp) -> AsyncIterator[str]:
    """Serve the application; give its address."""
    listener = Listener("127.0.0.1", 0, settings="the address")
    stop = asyncio.Event()
    serving = asyncio.create_task(
        serve_http(
            tested.app,
            hypercorn_config(tested.settings.shutdown_timeout_seconds),
            listener,
            max_connections=10,
            let_go_seconds=0.1,
            until=stop.wait,
        )
    )
    try:
        yield f"http://127.0.0.1:{listener.port}"
    finally:
        stop.set()
        await serving
        listener.close()


@asynccontextmanager
async def client_of(
    url: str, *, token: str | None = None, try_seconds: float = 10
) -> AsyncIterator[BatchConductorClient]:
    """Give a client, closed at the end."""
    secret = SecretStr(token) if token else None
    policy = ClientPolicy(base_url=url, try_seconds=try_seconds, token=secret)
    client = BatchConductorClient(policy)
    try:
        yield client
    finally:
        await client.close()


async def ask(
    *answers: Answer, deadline_seconds: float = 0.4, try_seconds: float = 10
) -> ResolutionOutcome:
    """Return what a client makes of these answers."""
    async with (
        scripted(*answers) as server,
        client_of(server.url, try_seconds=try_seconds) as client,
    ):
        return await client.resolve(QUESTION, deadline_seconds=deadline_seconds)


async def test_the_service_answers_what_runs_and_what_does_not() -> None:
    tested = TestedApp()
    async with served(tested) as url, client_of(url) as client:
        runs = await client.resolve(QUESTION, deadline_seconds=5)
        await tested.repository.apply(
            [update("batch-1", registration(1, essays=["e1"]), evidence("e1"))]
        )
        nothing = await client.resolve(QUESTION, deadline_seconds=5)

    assert isinstance(runs, Resolved)
    assert runs.answer.final_pipeline == ["spellcheck"]
    assert isinstance(nothing, NothingToDo)
    assert nothing.answer.phases[0].reason == "already_completed"


async def test_the_service_refuses() -> None:
    async with served(TestedApp(service_token="right")) as url:
        async with client_of(url, token="wrong") as stranger:
            refused = await stranger.resolve(QUESTION, deadline_seconds=5)
        async with client_of(url, token="right") as client:
            named = QUESTION.model_copy(update={"requested_pipeline": "nonsense"})
            unknown = await client.resolve(named, deadline_seconds=5)

    assert isinstance(refused, Refused)
    assert (refused.status, refused.code) == (401, "unauthorized")
    assert isinstance(unknown, UnknownPipeline)
    assert "spellcheck" in unknown.detail


async def test_the_service_shows_a_batch() -> None:
    tested = TestedApp()
    async with served(tested) as url, client_of(url) as client:
        unknown = await client.get_batch("batch-1", correlation_id="c", deadline_seconds=5)
        await tested.repository.apply([update("batch-1", evidence("e1", storage_id="text-7"))])
        known = await client.get_batch("batch-1", correlation_id="c", deadline_seconds=5)

    assert unknown == BatchUnknown()
    assert isinstance(known, BatchKnown)
    assert known.batch.outputs == {"spellcheck": {"e1": "text-7"}}


async def test_a_service_without_its_stores_is_unavailable() -> None:
    tested = TestedApp()
    tested.repository.error = StoreUnavailableError()
    async with served(tested) as url, client_of(url) as client:
        outcome = await client.resolve(QUESTION, deadline_seconds=0.5)

    assert outcome == Unavailable(reason="overloaded", retry_after_seconds=2)


@pytest.mark.parametrize(
    ("misbehaviour", "reason"),
    [
        (silence, "timeout"),
        (drip, "timeout"),
        (hang_up, "unreachable"),
        (break_off, "unreachable"),
        (says(500, b"{}"), "fault"),
        (says(502, b"<html>"), "fault"),
        (says(503, b"{}", Retry_After="1"), "overloaded"),
        (says(200, b""), "garbled"),
        (says(200, b"\xff\xfe"), "garbled"),
        (says(200, b"[]"), "garbled"),
        (says(200, b"not gzip", Content_Encoding="gzip"), "garbled"),
        (says(200, json.dumps(RUN | {"batch_id": "another"}).encode()), "garbled"),
        (says(200, json.dumps(RUN | {"final_pipeline": []}).encode()), "garbled"),
        (says(200, json.dumps(RUN | {"phases": []}).encode()), "garbled"),
        (says(404, b"<html>not here"), "garbled"),
        (says(404, b""), "garbled"),
        (says(302, b"", Location="/elsewhere"), "garbled"),
    ],
)
async def test_no_answer_is_taken_for_one(misbehaviour: Answer, reason: str) -> None:
    began = time.monotonic()

    outcome = await ask(misbehaviour)

    assert isinstance(outcome, Unavailable)
    assert outcome.reason == reason
    assert time.monotonic() - began < 0.9


@pytest.mark.parametrize("first", [silence, hang_up, break_off, says(503, b"{}")])
async def test_what_may_help_is_tried_again(first: Answer) -> None:
    good = says(200, json.dumps(RUN).encode())

    outcome = await ask(first, good, deadline_seconds=3, try_seconds=0.3)

    assert isinstance(outcome, Resolved)


async def test_a_server_that_asks_to_wait_is_not_asked_before() -> None:
    good = says(200, json.dumps(RUN).encode())
    began = time.monotonic()

    outcome = await ask(says(503, b"{}", Retry_After="1"), good, deadline_seconds=3)

    assert isinstance(outcome, Resolved)
    assert time.monotonic() - began >= 1


async def test_the_question_carries_all_that_it_should() -> None:
    good = says(200, json.dumps(RUN).encode())
    async with scripted(good) as server, client_of(server.url, token="t") as client:
        await client.resolve(QUESTION, deadline_seconds=1)
        await client.get_batch("a~b", correlation_id="correlation-1", deadline_seconds=1)

    define, batch = server.requests
    head, _, body = define.partition(b"\r\n\r\n")
    assert b"authorization: bearer t" in head.lower()
    assert b"content-type: application/json" in head.lower()
    assert json.loads(body) == {
        "batch_id": "batch-1",
        "requested_pipeline": "spellcheck",
        "correlation_id": "correlation-1",
    }
    assert batch.startswith(b"GET /internal/v1/batches/a~b HTTP/1.1")
    assert b"x-correlation-id: correlation-1" in batch.lower()


async def test_a_server_that_keeps_failing_is_left_alone_and_probed_by_one() -> None:
    states: list[int] = []
    good = says(200, json.dumps(RUN).encode())
    failing = [says(500, b"{}")] * FAILURES_TO_OPEN
    async with scripted(*failing, good) as server:
        policy = ClientPolicy(base_url=server.url, try_seconds=0.2)
        client = BatchConductorClient(policy, show_breaker=states.append)
        for _ in failing:
            await client.resolve(QUESTION, deadline_seconds=1)
        left_alone = await client.resolve(QUESTION, deadline_seconds=1)
        asked = len(server.requests)
        assert isinstance(left_alone, Unavailable)
        await asyncio.sleep(left_alone.retry_after_seconds + 0.05)
        probes = await asyncio.gather(
            *(client.resolve(QUESTION, deadline_seconds=1) for _ in range(5))
        )
        await client.close()

    assert left_alone.reason == "not_asked"
    assert asked == FAILURES_TO_OPEN
    assert sorted(type(one).__name__ for one in probes) == ["Resolved", *["Unavailable"] * 4]
    assert {0, 1, 2} <= set(states)


async def test_a_caller_may_hang_up() -> None:
    async with scripted(silence) as server, client_of(server.url) as client:
        asking = asyncio.create_task(client.resolve(QUESTION, deadline_seconds=30))
        await asyncio.wait_for(server.is_asked.wait(), 5)

        asking.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asking
