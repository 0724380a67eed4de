"""The metrics, for Prometheus."""

from dishka import FromDishka
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from quart import Blueprint, Response
from quart_dishka import inject

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
@inject
async def metrics(registry: FromDishka[CollectorRegistry]) -> Response:
    """Show every metric of the process."""
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)
