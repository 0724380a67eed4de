from importlib.metadata import version

from service_libs.health import HealthMonitor
from service_libs.settings import Environment
from tests.support.api import TestedApp


async def test_health_tells_everything_of_the_contract(tested: TestedApp) -> None:
    async with tested.app.test_app() as served:
        response = await served.test_client().get("/healthz")

    assert response.status_code == 200
    unused = {"status": "disabled", "message": "Not in use with these settings."}
    assert await response.get_json() == {
        "service": "batch_conductor_service",
        "status": "healthy",
        "version": version("batch-conductor-service"),
        "environment": "testing",
        "dependencies": {"redis": unused, "postgresql": unused, "kafka": unused},
        "tasks": {"consumer": "disabled", "persistence_worker": "disabled"},
        "causes": [],
    }


async def test_health_tells_how_the_consumer_gets_on() -> None:
    tested = TestedApp(environment=Environment.DEVELOPMENT, use_mock_repository=True)

    response = await tested.client.get("/healthz")

    body = await response.get_json()
    assert body["tasks"]["consumer"] == "stopped"
    assert body["consumer"].keys() == {"state", "since", "last_progress_at"}
    await tested.container.close()


async def test_a_service_in_memory_is_ready(tested: TestedApp) -> None:
    response = await tested.client.get("/readyz")

    assert response.status_code == 200
    assert await response.get_json() == {"ready": True}


async def test_a_service_that_shuts_down_is_not_ready_and_ends_connections(
    tested: TestedApp,
) -> None:
    (await tested.container.get(HealthMonitor)).begin_shutdown()

    response = await tested.client.get("/readyz")

    assert response.status_code == 503
    assert response.headers["Connection"] == "close"
    assert (await tested.client.get("/livez")).status_code == 200


async def test_a_service_whose_watch_does_not_run_is_not_alive(tested: TestedApp) -> None:
    response = await tested.client.get("/livez")

    assert response.status_code == 503
    assert await response.get_json() == {"alive": False}


async def test_metrics_are_shown_as_prometheus_wants_them(tested: TestedApp) -> None:
    response = await tested.client.get("/metrics")

    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=0.0.4")
    text = await response.get_data(as_text=True)
    assert "# TYPE bcs_http_requests_total counter" in text
    assert "process_open_fds" in text
