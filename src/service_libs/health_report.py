"""How a service is doing, as its health routes say it; what answers them knows its framework."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict

from service_libs.health import HealthMonitor, ServiceStatus

NOT_IN_USE = "disabled"

Answer = tuple[dict[str, Any], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutService:
    """What of the service never changes while it runs; those not in use are shown, too."""

    service: str
    version: str
    environment: str
    dependencies: Sequence[str]
    tasks: Sequence[str]


class DependencyState(BaseModel):
    """Whether a dependency answers."""

    status: str
    message: str


class Health(BaseModel):
    """How the service, its dependencies and its tasks are doing."""

    model_config = ConfigDict(extra="allow")

    service: str
    status: str
    version: str
    environment: str
    dependencies: dict[str, DependencyState]
    tasks: dict[str, str]


class Readiness(BaseModel):
    """Whether requests can be answered."""

    ready: bool


class Liveness(BaseModel):
    """Whether the event loop and its tasks are alive."""

    alive: bool


def report_health(monitor: HealthMonitor, about: AboutService) -> Answer:
    """Return how the service, its dependencies and its tasks are doing."""
    status = monitor.status
    body = {
        "service": about.service,
        "status": status.value,
        "version": about.version,
        "environment": about.environment,
        "dependencies": {name: _dependency(monitor, name) for name in about.dependencies},
        "tasks": {name: monitor.tasks.get(name, NOT_IN_USE) for name in about.tasks},
        "causes": list(monitor.causes),
        **monitor.progress,
    }
    return body, _status_code(is_good=status is not ServiceStatus.UNHEALTHY)


def report_readiness(monitor: HealthMonitor) -> Answer:
    """Return whether requests can be answered."""
    return {"ready": monitor.is_ready}, _status_code(is_good=monitor.is_ready)


def report_liveness(monitor: HealthMonitor) -> Answer:
    """Return whether the process is alive: whether starting it again would help."""
    return {"alive": monitor.is_alive}, _status_code(is_good=monitor.is_alive)


def _dependency(monitor: HealthMonitor, name: str) -> dict[str, str]:
    if health := monitor.dependencies.get(name):
        return {"status": health.status.value, "message": health.message}
    return {"status": NOT_IN_USE, "message": "Not in use with these settings."}


def _status_code(*, is_good: bool) -> int:
    return HTTPStatus.OK if is_good else HTTPStatus.SERVICE_UNAVAILABLE
