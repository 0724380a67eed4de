"""The service from start to stop in this process, on real servers or on none that answers."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from quart import Quart
from quart.testing.app import LifespanError

from batch_conductor_service.app import create_app
from batch_conductor_service.config import Settings
from batch_conductor_service.startup_setup import build_container
from service_libs.exceptions import UncleanShutdownError
from service_libs.health import HealthMonitor
from tests.support.waiting import eventually

PIPELINES = Path(__file__).parents[2] / "pipelines.yaml"
DEFINE = "/internal/v1/pipelines/define"
QUESTION = {"batch_id": "batch-1", "requested_pipeline": "cj_assessment"}


def settings(**values: object) -> Settings:
    common = {
        "pipeline_config_path": PIPELINES,
        "kafka_enable_idempotence": False,
        "kafka_consumer_group_id": f"group-{uuid4().hex}",
        # A group that is only just forming is left only once it has formed.
        "shutdown_timeout_seconds": 30,
    }
    return Settings.model_validate(common | values)


async def wait_for_status(app: Quart, status: str) -> dict[str, Any]:
    body: dict[str, Any] = {}

    async def has_come() -> bool:
        body.update(await (await app.test_client().get("/healthz")).get_json())
        return bool(body["status"] == status)

    await eventually(has_come, what=f"status {status}")
    return body


async def test_with_all_servers_there_the_service_is_healthy_and_ends_cleanly(
    redis_url: str, database_url: str, kafka_bootstrap_servers: str
) -> None:
    app = create_app(
        settings(
            redis_url=redis_url,
            database_url=database_url,
            kafka_bootstrap_servers=kafka_bootstrap_servers,
        )
    )

    async with app.test_app() as served:
        client = served.test_client()
        body = await wait_for_status(app, "healthy")

        assert body["tasks"] == {"consumer": "running", "persistence_worker": "running"}
        assert {d["status"] for d in body["dependencies"].values()} == {"up"}
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/livez")).status_code == 200


async def test_with_no_server_there_the_service_starts_answers_and_ends_in_time() -> None:
    settings_of_nowhere = settings(
        redis_url="redis://127.0.0.1:1",
        database_url="postgresql+asyncpg://bcs:bcs@127.0.0.1:1/bcs",
        kafka_bootstrap_servers="127.0.0.1:1",
        shutdown_timeout_seconds=5,
    )
    container = build_container(settings_of_nowhere)
    served = create_app(settings_of_nowhere, container).test_app()
    client = served.test_client()

    await served.startup()
    await (await container.get(HealthMonitor)).check()
    health, ready, alive = [await client.get(path) for path in ("/healthz", "/readyz", "/livez")]
    answer = await client.post(DEFINE, json=QUESTION)
    with pytest.raises(LifespanError, match=str(UncleanShutdownError())):
        await served.shutdown()  # the dead letter of the question could not be sent

    assert (health.status_code, ready.status_code, alive.status_code) == (503, 503, 200)
    body = await health.get_json()
    assert body["status"] == "unhealthy"
    assert {d["status"] for d in body["dependencies"].values()} == {"down"}
    assert "127.0.0.1" not in await health.get_data(as_text=True)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]


async def test_after_the_end_nothing_of_the_service_runs_on() -> None:
    before = asyncio.all_tasks()
    app = create_app(settings(environment="testing"))

    async with app.test_app():
        assert asyncio.all_tasks() > before

    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_two_services_in_one_process_do_not_know_each_other() -> None:
    one, other = [create_app(settings(environment="testing")) for _ in range(2)]
    await one.test_client().post(DEFINE, json=QUESTION)

    shown = [
        await (await app.test_client().get("/metrics")).get_data(as_text=True)
        for app in (one, other)
    ]

    counted = 'bcs_pipeline_resolutions_total{pipeline="cj_assessment",status="success"} 1.0'
    assert [counted in text for text in shown] == [True, False]
