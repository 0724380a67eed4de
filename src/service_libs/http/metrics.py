"""The metrics, for Prometheus."""

from dishka import AsyncContainer, FromDishka
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from quart import Blueprint, Quart, Response
from quart_dishka import inject

from service_libs.metrics import ServiceMetrics

IMPLIED_METHODS = frozenset({"HEAD", "OPTIONS"})
INTERNAL_PREFIX = "/internal/"
INTERNAL_STATUSES = (200, 400, 401, 404, 408, 409, 413, 415, 500, 503)
OPERATING_STATUSES = (200, 500, 503)

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
@inject
async def metrics(registry: FromDishka[CollectorRegistry]) -> Response:
    """Show every metric of the process."""
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def show_requests(app: Quart, container: AsyncContainer) -> None:
    """Have the counter of requests begin at 0 for every route and each status it may answer."""

    @app.before_serving
    async def show() -> None:
        counter = (await container.get(ServiceMetrics)).http_requests
        for rule in app.url_map.iter_rules():
            is_internal = rule.rule.startswith(INTERNAL_PREFIX)
            for method in sorted((rule.methods or set()) - IMPLIED_METHODS):
                for status in INTERNAL_STATUSES if is_internal else OPERATING_STATUSES:
                    counter.labels(method, rule.rule, str(status))
