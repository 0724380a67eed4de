"""`bcs serve`, `bcs migrate` and `bcs replay`: what every service has, for this one."""

from functools import partial
from typing import TYPE_CHECKING

from batch_conductor_service.config import Settings, load_settings
from common_core.topics import consumed_topics
from service_libs.cli.migrate import Migration, migrate_command
from service_libs.cli.replay import replay_command
from service_libs.cli.serve import serve_command

if TYPE_CHECKING:
    from dishka import AsyncContainer
    from sqlalchemy.ext.asyncio import AsyncEngine

    from service_libs.serving import ServedService


load_strictly = partial(load_settings, refuse_unknown=True)


def load_service(settings: Settings) -> "ServedService":
    """Return what is served."""
    from batch_conductor_service.app import create_app
    from batch_conductor_service.startup_setup import build_container, check_configuration
    from service_libs.exceptions import PipelineConfigurationError
    from service_libs.serving import ServedService

    return ServedService(
        prefix="BCS_",
        settings=settings,
        build_container=lambda: build_container(settings),
        check=check_configuration,
        create_app=lambda container: create_app(settings, container),
        logged=PipelineConfigurationError,  # the file's reader has logged every fault
    )


def load_database() -> "tuple[AsyncEngine, str]":
    """Return the pool to what is migrated, and where that is."""
    from batch_conductor_service.implementations.postgres.tables import DATABASE

    settings = load_strictly()
    return DATABASE.engine(settings), DATABASE.address(settings).place


def open_container() -> "AsyncContainer":
    """Return the service's container, for what looks after a running service."""
    from batch_conductor_service.startup_setup import build_container

    return build_container(load_settings())


MIGRATION = Migration(
    command="bcs",
    section="alembic",
    help="Bring the database of BCS_DATABASE_URL to the newest schema.",
    done="The database has the newest schema.",
    load_database=load_database,
)

serve = serve_command(load_strictly, load_service)
migrate = migrate_command(MIGRATION)
replay = replay_command("Redis", consumed_topics, open_container)
