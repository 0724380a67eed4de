"""How the service is doing, for people and for orchestrators."""

from dishka import FromDishka
from quart import Blueprint
from quart_dishka import inject

from service_libs.health import HealthMonitor
from service_libs.health_report import (
    AboutService,
    Answer,
    report_health,
    report_liveness,
    report_readiness,
)

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@inject
async def healthz(monitor: FromDishka[HealthMonitor], about: FromDishka[AboutService]) -> Answer:
    """Show how the service, its dependencies and its tasks are doing."""
    return report_health(monitor, about)


@blueprint.get("/readyz")
@inject
async def readyz(monitor: FromDishka[HealthMonitor]) -> Answer:
    """Say whether requests can be answered."""
    return report_readiness(monitor)


@blueprint.get("/livez")
@inject
async def livez(monitor: FromDishka[HealthMonitor]) -> Answer:
    """Say whether the process is alive: whether starting it again would help."""
    return report_liveness(monitor)
