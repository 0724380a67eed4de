"""How the gateway is doing, and what it measures."""

from dishka import FromDishka
from dishka.integrations.fastapi import inject
from fastapi import APIRouter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import JSONResponse, Response

from service_libs.health import HealthMonitor
from service_libs.health_report import (
    AboutService,
    Health,
    Liveness,
    Readiness,
    report_health,
    report_liveness,
    report_readiness,
)

router = APIRouter(tags=["operating"])


@router.get("/healthz", response_model=Health, responses={503: {"model": Health}})
@inject
async def healthz(monitor: FromDishka[HealthMonitor], about: FromDishka[AboutService]) -> Response:
    """Show how the service, its dependencies and its tasks are doing."""
    body, status = report_health(monitor, about)
    return JSONResponse(body, status)


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
@inject
async def readyz(monitor: FromDishka[HealthMonitor]) -> Response:
    """Say whether requests can be answered."""
    body, status = report_readiness(monitor)
    return JSONResponse(body, status)


@router.get("/livez", response_model=Liveness, responses={503: {"model": Liveness}})
@inject
async def livez(monitor: FromDishka[HealthMonitor]) -> Response:
    """Say whether the process is alive: whether starting it again would help."""
    body, status = report_liveness(monitor)
    return JSONResponse(body, status)


@router.get("/metrics", response_class=Response)
@inject
async def metrics(registry: FromDishka[CollectorRegistry]) -> Response:
    """Show every metric of the process."""
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
