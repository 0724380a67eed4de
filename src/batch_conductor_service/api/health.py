"""How the service is doing, for people and for orchestrators."""

from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from dishka import FromDishka
from quart import Blueprint
from quart_dishka import inject

from batch_conductor_service.config import Settings
from batch_conductor_service.health import HealthMonitor, ServiceStatus

blueprint = Blueprint("health", __name__)

SERVICE_NAME = "batch_conductor_service"
VERSION = version("batch-conductor-service")
DEPENDENCIES = ("redis", "postgresql", "kafka")
TASKS = ("consumer", "persistence_worker")
NOT_IN_USE = "disabled"

Answer = tuple[dict[str, Any], int]


@blueprint.get("/healthz")
@inject
async def healthz(monitor: FromDishka[HealthMonitor], settings: FromDishka[Settings]) -> Answer:
    """Tell how the service, its dependencies and its tasks are doing."""
    status = monitor.status
    body = {
        "service": SERVICE_NAME,
        "status": status.value,
        "version": VERSION,
        "environment": settings.environment.value,
        "dependencies": {name: _dependency(monitor, name) for name in DEPENDENCIES},
        "tasks": {name: monitor.tasks.get(name, NOT_IN_USE) for name in TASKS},
        "causes": list(monitor.causes),
        **monitor.progress,
    }
    return body, _status_code(is_good=status is not ServiceStatus.UNHEALTHY)


@blueprint.get("/readyz")
@inject
async def readyz(monitor: FromDishka[HealthMonitor]) -> Answer:
    """Tell whether `define` can be answered."""
    return {"ready": monitor.is_ready}, _status_code(is_good=monitor.is_ready)


@blueprint.get("/livez")
@inject
async def livez(monitor: FromDishka[HealthMonitor]) -> Answer:
    """Tell whether the process is alive: whether starting it again would help."""
    return {"alive": monitor.is_alive}, _status_code(is_good=monitor.is_alive)


def _dependency(monitor: HealthMonitor, name: str) -> dict[str, str]:
    if health := monitor.dependencies.get(name):
        return {"status": health.status.value, "message": health.message}
    return {"status": NOT_IN_USE, "message": "Not in use with these settings."}


def _status_code(*, is_good: bool) -> int:
    return HTTPStatus.OK if is_good else HTTPStatus.SERVICE_UNAVAILABLE
