"""The application: the container, what surrounds every request, and the routes."""

from dishka import AsyncContainer
from quart import Quart

from batch_orchestrator_service.api import pipeline_state
from batch_orchestrator_service.api.errors import STATUS_BY_ERROR
from batch_orchestrator_service.config import Settings
from batch_orchestrator_service.startup_setup import lifespan
from service_libs.http import health, metrics
from service_libs.http.app import ServiceApp, Surroundings
from service_libs.http.problems import Problems

ROUTES = (pipeline_state, health, metrics)


def create_app(settings: Settings, container: AsyncContainer) -> Quart:
    """Return the application; it opens nothing before it is served."""
    surroundings = Surroundings(
        container,
        token=settings.service_token,
        callers_patience_seconds=settings.http_timeout,
    )
    app = ServiceApp(__name__, container, surroundings, Problems("bos", STATUS_BY_ERROR))
    for module in ROUTES:
        app.register_blueprint(module.blueprint)
    metrics.show_requests(app, container)
    app.while_serving(lambda: lifespan(container))
    return app
