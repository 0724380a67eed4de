"""The application: the container, what surrounds every request, and the routes."""

from dishka import AsyncContainer
from quart import Quart

from batch_conductor_service.api import batches, openapi, pipelines
from batch_conductor_service.api.errors import STATUS_BY_ERROR, seconds_to_wait
from batch_conductor_service.config import Settings, load_settings
from batch_conductor_service.startup_setup import build_container, lifespan
from service_libs.http import health, metrics
from service_libs.http.app import ServiceApp, Surroundings
from service_libs.http.problems import Problems

ROUTES = (batches, health, metrics, openapi)


def create_app(settings: Settings | None = None, container: AsyncContainer | None = None) -> Quart:
    """Return the application; it opens nothing before it is served."""
    settings = settings or load_settings(refuse_unknown=True)
    container = container or build_container(settings)
    surroundings = Surroundings(
        container,
        token=settings.service_token,
        callers_patience_seconds=settings.http_timeout,
    )
    problems = Problems("bcs", STATUS_BY_ERROR, seconds_to_wait(container))
    app = ServiceApp(__name__, container, surroundings, problems)
    pipelines.register(app, container)
    for module in ROUTES:
        app.register_blueprint(module.blueprint)
    metrics.show_requests(app, container)
    app.while_serving(lambda: lifespan(container))
    return app
