import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from batch_conductor_service.metrics import Metrics
from service_libs.exceptions import DeadLetterLimitError, StoreUnavailableError
from service_libs.health import HealthMonitor, ProbePolicy
from service_libs.supervisor import RestartPolicy, Supervisor
from tests.support.tasks import ScriptedTask, SwitchableProbe
from tests.support.waiting import eventually

QUICK = ProbePolicy(interval_seconds=0.005, timeout_seconds=0.02)
SLOW_RESTART = RestartPolicy(initial_seconds=60, max_seconds=60)


class Service:
    """A monitor with probes that can be switched, and one task."""

    def __init__(self, *errors: Exception) -> None:
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.probes = {name: SwitchableProbe(name) for name in ("redis", "postgresql", "kafka")}
        self.supervisor = Supervisor([ScriptedTask("consumer", errors)], metrics, SLOW_RESTART)
        self.monitor = HealthMonitor(list(self.probes.values()), self.supervisor, metrics, QUICK)

    def break_down(self, *names: str) -> None:
        for name in names:
            self.probes[name].error = StoreUnavailableError("It is away.")

    def is_up(self, dependency: str) -> float | None:
        return self.registry.get_sample_value("bcs_dependency_up", {"dependency": dependency})


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    service.supervisor.start()
    await asyncio.sleep(0)
    yield service
    await service.monitor.stop()
    await service.supervisor.stop(timeout_seconds=1)


async def test_everything_up_is_healthy_ready_and_alive(service: Service) -> None:
    service.monitor.start()

    await eventually(lambda: service.monitor.status == "healthy")
    assert service.monitor.is_ready
    assert service.monitor.is_alive
    assert service.is_up("redis") == 1


@pytest.mark.parametrize("name", ["redis", "postgresql", "kafka"])
async def test_one_dependency_down_is_degraded_but_ready(service: Service, name: str) -> None:
    service.break_down(name)

    await service.monitor.check()

    assert service.monitor.status == "degraded"
    assert service.monitor.is_ready
    assert service.monitor.dependencies[name].message == "It is away."
    assert service.is_up(name) == 0


async def test_neither_store_answering_is_unhealthy_and_not_ready(service: Service) -> None:
    service.break_down("redis", "postgresql")

    await service.monitor.check()

    assert service.monitor.status == "unhealthy"
    assert not service.monitor.is_ready


async def test_nothing_asked_yet_is_not_ready(service: Service) -> None:
    assert not service.monitor.is_ready
    assert service.monitor.dependencies["redis"].status == "unknown"


async def test_without_any_store_to_ask_the_service_is_ready() -> None:
    """State in memory is always there."""
    metrics = Metrics(CollectorRegistry())
    monitor = HealthMonitor([], Supervisor([], metrics), metrics)

    assert monitor.is_ready
    assert monitor.status == "healthy"


async def test_a_dependency_that_hangs_is_down_and_delays_nobody(service: Service) -> None:
    service.probes["redis"].hangs = True

    await asyncio.wait_for(service.monitor.check(), timeout=1)

    assert service.monitor.dependencies["redis"].message == "Did not answer in time."
    assert service.is_up("postgresql") == 1


async def test_a_check_that_fails_itself_tells_nothing_of_the_inside(service: Service) -> None:
    service.probes["redis"].error = ValueError("redis://user:secret@host")

    await service.monitor.check()

    assert service.monitor.dependencies["redis"].message == "Could not be asked."


async def test_a_dependency_that_comes_back_is_seen(service: Service) -> None:
    service.break_down("kafka")
    service.monitor.start()
    await eventually(lambda: service.is_up("kafka") == 0)

    service.probes["kafka"].error = None

    await eventually(lambda: service.is_up("kafka") == 1)
    assert service.monitor.status == "healthy"


@pytest.mark.parametrize(
    ("error", "status", "is_alive"),
    [(ZeroDivisionError(), "degraded", True), (DeadLetterLimitError(), "unhealthy", True)],
)
async def test_a_dead_task_is_seen_and_no_reason_to_start_the_process_again(
    error: Exception, status: str, *, is_alive: bool
) -> None:
    service = Service(error)
    service.supervisor.start()
    service.monitor.start()

    await eventually(lambda: service.monitor.status == status)
    assert service.monitor.is_alive is is_alive
    await service.monitor.stop()
    await service.supervisor.stop(timeout_seconds=1)


async def test_a_service_that_shuts_down_is_alive_but_not_ready(service: Service) -> None:
    await service.monitor.check()

    service.monitor.begin_shutdown()

    assert service.monitor.is_alive
    assert not service.monitor.is_ready


async def test_a_monitor_that_does_not_run_is_no_sign_of_life(service: Service) -> None:
    service.monitor.start()
    assert service.monitor.is_alive

    await service.monitor.stop()

    assert not service.monitor.is_alive


async def test_a_task_that_dies_again_and_again_degrades_the_service() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    quick = RestartPolicy(initial_seconds=0.001, max_seconds=0.001)
    task = ScriptedTask("worker", [ZeroDivisionError()] * 3)
    supervisor = Supervisor([task], metrics, quick)
    monitor = HealthMonitor([], supervisor, metrics)
    supervisor.start()

    await task.is_running.wait()

    assert monitor.status == "degraded"
    assert monitor.causes == ["The task worker dies again and again."]
    await supervisor.stop(timeout_seconds=1)
