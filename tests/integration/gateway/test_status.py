"""How a batch is, as its owner sees it."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast
from uuid import UUID

import httpx
import pytest
from dishka import Provider, Scope
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from api_gateway_service.exceptions import OrchestratorUnavailableError
from api_gateway_service.implementations import bos_client_impl
from api_gateway_service.implementations.bos_client_impl import BosClient
from api_gateway_service.metrics import Metrics
from api_gateway_service.models.responses import BatchStatus
from api_gateway_service.providers import trusted_authorities
from api_gateway_service.services.status_views import STATUS_BY_BATCH_STATUS, to_status
from batch_orchestrator_service.app import create_app as create_bos
from batch_orchestrator_service.config import Settings as BosSettings
from batch_orchestrator_service.implementations.memory.runs import MemoryRuns, MemoryRunStore
from batch_orchestrator_service.protocols import RunStoreProtocol
from batch_orchestrator_service.startup_setup import build_container as build_bos
from service_libs.http.origin import HttpOrigin
from tests.support.gateway.app import Gateway, gateway_app, status_path
from tests.support.gateway.server import served
from tests.support.gateway.tokens import bearer
from tests.support.gateway.web import UNKNOWN, Web, batch, phase, run
from tests.support.orchestrating import Bench, request
from tests.support.pipelines import PIPELINES_FILE
from tests.support.scripted_http import Answer, break_off, drip, hang_up, says, scripted, silence


async def test_the_newest_run_that_was_not_rejected_is_shown(
    gateway: Gateway, web: Web, batch_id: str
) -> None:
    pruned = phase("spellcheck", "skipped_by_user_config", skip_reason="already_completed", total=0)
    rejected = run("comprehensive", "rejected", reason="too_many_waiting", phases=[])
    waiting = run("ai_feedback", "accepted", reason="earlier_run_open", phases=[])
    running = run("nlp", "running", phases=[pruned, phase("nlp", "in_progress")])
    web.put(batch(batch_id, "teacher", "processing_pipelines", rejected, running))

    shown = (await gateway.status(batch_id)).json()

    assert shown["batch_id"] == batch_id
    assert shown["status"] == "processing"
    assert shown["details"]["current_phase"] == "nlp"
    assert [one["name"] for one in shown["details"]["phases"]] == ["spellcheck", "nlp"]
    assert shown["details"]["phases"][0]["skip_reason"] == "already_completed"
    assert [one["state"] for one in shown["details"]["requests"]] == ["rejected", "running"]
    assert shown["details"]["requests"][0]["reason"] == "too_many_waiting"
    assert (
        to_status(batch(batch_id, "t", "processing_pipelines", waiting, running)).details.phases
        == []
    )


async def test_every_click_finds_the_run_that_it_led_to(
    gateway: Gateway, web: Web, batch_id: str
) -> None:
    merged = run(request_ids=[UUID(int=1), UUID(int=2)])
    web.put(batch(batch_id, "teacher", "processing_pipelines", merged))

    shown = (await gateway.status(batch_id)).json()

    assert [one["request_id"] for one in shown["details"]["requests"]] == [
        str(UUID(int=1)),
        str(UUID(int=2)),
    ]


@pytest.mark.parametrize(("told", "shown"), STATUS_BY_BATCH_STATUS.items())
async def test_each_status_has_a_word_for_clients(
    gateway: Gateway, web: Web, batch_id: str, told: str, shown: str
) -> None:
    web.put(batch(batch_id, "teacher", told))

    assert (await gateway.status(batch_id)).json()["status"] == shown


async def test_what_is_still_so_is_not_sent_again(
    gateway: Gateway, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id))
    first = await gateway.status(batch_id)
    tag = first.headers["ETag"]

    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await gateway.status(batch_id, If_None_Match=known)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == tag
    web.put(batch(batch_id, "teacher", "processing_pipelines", run()))
    changed = await gateway.status(batch_id, If_None_Match=tag)

    assert first.headers["Cache-Control"] == "private, no-cache"
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (401, b"{}"),
        (404, b"<html>"),
        (404, b'{"code": "not_found"}'),
        (200, b""),
        (200, b"{}"),
        (200, batch("another").model_dump_json().encode()),
        (200, batch("b", "teacher", "a status of the future").model_dump_json().encode()),
        (302, b""),
    ],
)
async def test_what_bos_does_not_say_is_not_shown(
    gateway: Gateway, web: Web, status: int, body: bytes
) -> None:
    web.broken = (status, body)

    answer = await gateway.status("b")

    assert (answer.status_code, answer.json()["code"]) == (503, "status_unavailable")
    assert answer.json()["retryable"] is True
    assert answer.headers["Retry-After"]


async def test_bos_is_waited_for_two_seconds_at_most(web: Web) -> None:
    web.delay_seconds = 5
    loop = asyncio.get_running_loop()

    async with gateway_app(bos_url=web.url) as gateway:
        started = loop.time()
        answer = await gateway.status("b")

    web.delay_seconds = 0
    assert answer.status_code == 503
    assert 1.9 < loop.time() - started < 3


@pytest.mark.parametrize("answer", [hang_up, break_off, says(200, b"x" * 100)])
async def test_a_bos_that_misbehaves_is_no_fault_of_ours(answer: Answer) -> None:
    async with scripted(answer) as script, gateway_app(bos_url=script.url) as gateway:
        assert (await gateway.status("b")).status_code == 503


@pytest.mark.parametrize("answer", [silence, drip])
async def test_a_bos_that_never_ends_is_given_up(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bos_client_impl, "TRY_SECONDS", 0.3)
    async with scripted(answer) as script, gateway_app(bos_url=script.url) as gateway:
        async with asyncio.timeout(1.5):
            assert (await gateway.status("b")).status_code == 503


async def test_a_bos_that_keeps_failing_is_left_alone_and_found_again(
    web: Web, batch_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bos_client_impl, "OPEN_SECONDS", 0.3)
    web.put(batch(batch_id))
    web.broken = (500, b"")

    async with gateway_app(bos_url=web.url) as gateway:
        for _ in range(10):
            assert (await gateway.status(batch_id)).status_code == 503
        asked = web.asked.total()
        web.broken = None
        await asyncio.sleep(0.35)
        found = await gateway.status(batch_id)

    assert asked == 5
    assert found.status_code == 200


async def test_those_who_ask_at_the_same_time_ask_bos_once(
    gateway: Gateway, web: Web, batch_id: str
) -> None:
    web.put(batch(batch_id))
    web.delay_seconds = 0.2

    answers = await asyncio.gather(*(gateway.status(batch_id) for _ in range(20)))

    assert {answer.status_code for answer in answers} == {200}
    assert web.asked.total() == 1


async def test_bos_is_sent_its_token(web: Web, batch_id: str) -> None:
    web.put(batch(batch_id))

    async with gateway_app(bos_url=web.url, bos_service_token="s3cret") as gateway:
        await gateway.status(batch_id)

    assert web.headers["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("name", [".", ".."])
async def test_dots_are_no_way_out_of_the_path(gateway: Gateway, web: Web, name: str) -> None:
    request = httpx.Request("GET", "http://gateway/v1", headers=bearer())
    request.url = request.url.copy_with(raw_path=status_path(name).encode())

    answer = await gateway.client.send(request)

    assert answer.status_code == 404
    assert not web.asked


class TestAgainstBosItself:
    """The real routes of BOS, over a store in memory."""

    @pytest.fixture
    async def bos(self) -> AsyncIterator[BosClient]:
        bench = Bench.ready("e1", "e2")
        running = bench.run_to("nlp")
        bench.report(running, "spellcheck", "e1", status="completed_with_failures")
        bench.click(request("second", "cj_assessment"))
        runs = MemoryRuns()
        runs.states["batch-1"] = bench.state
        replaced = Provider(scope=Scope.APP)
        replaced.provide(lambda: MemoryRunStore(runs), provides=RunStoreProtocol)
        settings = BosSettings.model_validate({"pipeline_config_path": PIPELINES_FILE})
        app = create_bos(settings, build_bos(settings, replaced))
        asgi = cast("ASGIApp", app)  # Quart has own types of ASGI
        async with served(asgi) as port:
            origin = HttpOrigin(
                f"http://127.0.0.1:{port}",
                headers={},
                ssl=trusted_authorities(),
                max_connections=1,
                max_body_bytes=1024 * 1024,
            )
            yield BosClient(origin, Metrics(CollectorRegistry()))
            await origin.close()

    async def test_what_it_shows_is_understood(self, bos: BosClient) -> None:
        batch = await bos.find_batch("batch-1", deadline_seconds=5)
        assert batch is not None
        assert batch.view is not None

        status = BatchStatus.model_validate_json(batch.view.body)

        assert batch.user_id == "teacher"
        assert status.status == "processing"
        assert [one.state for one in status.details.requests] == ["accepted", "running"]

    async def test_what_is_still_so_is_neither_sent_nor_read_again(self, bos: BosClient) -> None:
        first = await bos.find_batch("batch-1", deadline_seconds=5)
        again = await bos.find_batch("batch-1", deadline_seconds=5)

        assert first is not None
        assert again is first

    async def test_a_batch_that_it_does_not_know_is_none(self, bos: BosClient) -> None:
        assert await bos.find_batch("batch-2", deadline_seconds=5) is None

    async def test_what_it_refuses_is_no_answer(self, bos: BosClient) -> None:
        with pytest.raises(OrchestratorUnavailableError):
            await bos.find_batch("a:b", deadline_seconds=5)


def test_our_stand_in_says_of_an_unknown_batch_what_bos_says() -> None:
    """The bytes are those of `TestAgainstBosItself`, whose code decides."""
    assert UNKNOWN["code"] == "unknown_batch"
