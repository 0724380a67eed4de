"""The application: the container, what surrounds every request, and the routes."""

from dishka import AsyncContainer
from quart import Quart
from quart_dishka import QuartDishka

from batch_conductor_service.api import batches, health, metrics, openapi, pipelines
from batch_conductor_service.api.errors import register_error_handlers
from batch_conductor_service.api.middleware import register_middleware
from batch_conductor_service.config import Settings, load_settings
from batch_conductor_service.startup_setup import build_container, lifespan

BLUEPRINTS = (
    pipelines.blueprint,
    batches.blueprint,
    health.blueprint,
    metrics.blueprint,
    openapi.blueprint,
)


def create_app(settings: Settings | None = None, container: AsyncContainer | None = None) -> Quart:
    """Return the application; it opens nothing before it is served."""
    settings = settings or load_settings(refuse_unknown=True)
    container = container or build_container(settings)
    app = Quart(__name__, static_folder=None)
    # Our own limits hold for bodies and answers, and give problems instead of bare errors.
    app.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)
    QuartDishka(app=app, container=container)
    register_middleware(app, settings)
    register_error_handlers(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    metrics.show_requests(app, container)
    app.while_serving(lambda: lifespan(container))
    return app
