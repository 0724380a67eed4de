"""What callers see of a batch's runs."""

import json
from datetime import timedelta

import pytest
from dishka import Provider, Scope
from quart import typing as quart_typing

from batch_orchestrator_service.api.conversion import MAX_RUNS, batch_status, to_pipeline_state
from batch_orchestrator_service.app import create_app
from batch_orchestrator_service.config import Settings
from batch_orchestrator_service.implementations.memory.runs import MemoryRuns, MemoryRunStore
from batch_orchestrator_service.protocols import RunStoreProtocol
from batch_orchestrator_service.startup_setup import build_container
from service_libs.exceptions import StoreUnavailableError
from service_libs.protocols import ClockProtocol
from tests.support.clocks import SettableClock
from tests.support.orchestrating import NOON, Bench, request
from tests.support.pipelines import PIPELINES_FILE

PATH = "/internal/v1/batches/batch-1/pipeline-state"


class Shown:
    """The application over a store in memory."""

    def __init__(self, bench: Bench | None = None, **changes: object) -> None:
        values = {"pipeline_config_path": PIPELINES_FILE} | changes
        settings = Settings.model_validate(values)
        runs = MemoryRuns()
        if bench is not None:
            runs.states["batch-1"] = bench.state
        self.clock = SettableClock(NOON)
        self.store = MemoryRunStore(runs)
        replaced = Provider(scope=Scope.APP)
        replaced.provide(lambda: self.store, provides=RunStoreProtocol)
        replaced.provide(lambda: self.clock, provides=ClockProtocol)
        self.app = create_app(settings, build_container(settings, replaced))

    @property
    def client(self) -> quart_typing.TestClientProtocol:
        """A caller."""
        return self.app.test_client()


async def test_a_batch_is_shown_with_its_runs_the_newest_first() -> None:
    bench = Bench.ready("e1", "e2")
    first = bench.run_to("nlp")
    bench.report(first, "spellcheck", "e1", status="completed_with_failures")
    bench.click(request("second", "cj_assessment"))

    answer = await (await Shown(bench).client.get(PATH)).get_json()

    assert (answer["batch_id"], answer["user_id"]) == ("batch-1", "teacher")
    assert answer["batch_status"] == "processing_pipelines"
    newest, oldest = answer["runs"]
    assert (newest["state"], newest["reason"]) == ("accepted", "earlier_run_open")
    assert oldest["state"] == "running"
    assert oldest["phases"] == [
        {
            "name": "spellcheck",
            "status": "completed_with_partial_success",
            "completed": 1,
            "failed": 1,
            "total": 2,
            "skip_reason": None,
            "stalled": False,
        },
        {
            "name": "nlp",
            "status": "dispatch_initiated",
            "completed": 0,
            "failed": 0,
            "total": 1,
            "skip_reason": None,
            "stalled": False,
        },
    ]


async def test_a_phase_past_its_deadline_is_stalled() -> None:
    bench = Bench.ready("e1")
    bench.run_to("nlp")
    shown = Shown(bench)
    shown.clock.time += timedelta(hours=2)

    answer = await (await shown.client.get(PATH)).get_json()

    assert [phase["stalled"] for phase in answer["runs"][0]["phases"]] == [True, False]


async def test_what_has_not_changed_is_not_sent_again() -> None:
    bench = Bench.ready("e1")
    shown = Shown(bench)
    first = await shown.client.get(PATH)
    tag = first.headers["ETag"]

    again = await shown.client.get(PATH, headers={"If-None-Match": tag})
    other = await shown.client.get(PATH, headers={"If-None-Match": '"another"'})

    assert (again.status_code, await again.get_data()) == (304, b"")
    assert again.headers["ETag"] == tag
    assert other.status_code == 200


@pytest.mark.parametrize("is_asked_for", [False, True])
async def test_a_batch_without_an_owner_is_not_there(*, is_asked_for: bool) -> None:
    bench = Bench()
    if is_asked_for:
        bench.click(request())

    answer = await Shown(bench).client.get(PATH)

    assert answer.status_code == 404
    assert (await answer.get_json())["type"] == "urn:bos:problem:unknown_batch"


async def test_a_bad_id_is_refused() -> None:
    answer = await Shown().client.get("/internal/v1/batches/a:b/pipeline-state")

    assert answer.status_code == 400


async def test_a_token_is_asked_for() -> None:
    shown = Shown(Bench.ready("e1"), service_token="s3cret")

    refused = await shown.client.get(PATH)
    taken = await shown.client.get(PATH, headers={"Authorization": "Bearer s3cret"})

    assert (refused.status_code, taken.status_code) == (401, 200)


async def test_a_store_that_is_away_is_said() -> None:
    shown = Shown()

    async def fail(_batch_id: str) -> None:
        raise StoreUnavailableError

    shown.store.find_overview = fail  # type: ignore[assignment] # the store is away

    answer = await shown.client.get(PATH)

    assert answer.status_code == 503
    assert "Retry-After" in answer.headers


async def test_health_and_metrics_are_those_of_the_service() -> None:
    client = Shown().client

    health = json.loads(await (await client.get("/healthz")).get_data())
    metrics = await (await client.get("/metrics")).get_data(as_text=True)

    assert health["service"] == "batch_orchestrator_service"
    assert set(health["dependencies"]) == {"postgresql", "kafka"}
    assert health["consumer"]["state"] == "stopped"
    assert health["outbox"]["depth"] == 0
    assert set(health["tasks"]) == {
        "consumer",
        "broker_watch",
        "resolver",
        "retention",
        "overdue_watch",
        "relay",
    }
    for name in (
        "bos_requests_total",
        "bos_phase_outcomes_total",
        "bos_runs_ended_total",
        "bos_resolutions_total",
        "bos_stalled_phases",
        "bos_outbox_depth",
        "bos_outbox_oldest_age_seconds",
        "bos_messages_sent_total",
        "bos_http_requests_total",
        "bos_kafka_consumer_lag",
        "bos_kafka_oldest_unread_record_age_seconds",
    ):
        assert f"\n{name}" in metrics


def test_the_batch_has_the_status_of_its_newest_run_that_was_not_rejected() -> None:
    bench = Bench()
    statuses = [batch_status(bench.state)]
    bench.register("e1")
    bench.make_ready("e1")
    statuses.append(batch_status(bench.state))
    run = bench.run_to("nlp")
    bench.click(request("nlp", "nlp", body="another"))  # rejected
    statuses.append(batch_status(bench.state))
    bench.report(run, "spellcheck", "e1")
    bench.report(run, "nlp", "e1")
    statuses.append(batch_status(bench.state))

    assert statuses == [
        "awaiting_content_validation",
        "ready_for_pipeline_execution",
        "processing_pipelines",
        "completed_successfully",
    ]


def test_refused_clicks_crowd_out_neither_what_runs_nor_what_waits() -> None:
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")
    bench.click(request("second", "cj_assessment"))
    for number in range(2 * MAX_RUNS):
        bench.click(request("nlp", "nlp", body=f"another {number}"))  # rejected

    shown = to_pipeline_state(bench.state, NOON)

    assert len(shown.runs) == MAX_RUNS
    assert [one.state for one in shown.runs[-2:]] == ["accepted", "running"]
    assert shown.runs[-1].run_id == run.run_id
    assert shown.runs[0].run_id == bench.state.runs[-1].run_id


def test_the_run_whose_status_is_the_batchs_is_always_shown() -> None:
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")
    bench.report(run, "spellcheck", "e1")
    bench.report(run, "nlp", "e1")
    for number in range(2 * MAX_RUNS):
        bench.click(request("nlp", "nlp", body=f"another {number}"))  # rejected

    shown = to_pipeline_state(bench.state, NOON)

    assert shown.batch_status == "completed_successfully"
    assert shown.runs[-1].run_id == run.run_id
