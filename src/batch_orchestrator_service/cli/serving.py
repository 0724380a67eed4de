"""`bos serve`, `bos migrate` and `bos replay`: what every service has, for this one."""

from typing import TYPE_CHECKING

from batch_orchestrator_service.config import Settings, load_settings
from batch_orchestrator_service.events.decoding import consumed_topics
from service_libs.cli.migrate import Migration, migrate_command
from service_libs.cli.replay import replay_command
from service_libs.cli.serve import serve_command

if TYPE_CHECKING:
    from dishka import AsyncContainer
    from sqlalchemy.ext.asyncio import AsyncEngine

    from service_libs.serving import ServedService


def load_strictly() -> Settings:
    """Return the settings; a name with their prefix that is none is refused, too."""
    return load_settings(refuse_unknown=True)


def load_service(settings: Settings) -> "ServedService":
    """Return what is served."""
    from batch_orchestrator_service.app import create_app
    from batch_orchestrator_service.startup_setup import build_container, check_configuration
    from service_libs.serving import ServedService

    return ServedService(
        prefix="BOS_",
        settings=settings,
        build_container=lambda: build_container(settings),
        check=check_configuration,
        create_app=lambda container: create_app(settings, container),
    )


def load_database() -> "tuple[AsyncEngine, str]":
    """Return the pool to what is migrated, and where that is."""
    from batch_orchestrator_service.implementations.postgres.tables import DATABASE

    settings = load_strictly()
    return DATABASE.engine(settings), DATABASE.address(settings).place


def open_container() -> "AsyncContainer":
    """Return the service's container, for what looks after a running service."""
    from batch_orchestrator_service.startup_setup import build_container

    return build_container(load_settings())


MIGRATION = Migration(
    command="bos",
    section="bos",
    help="Bring the schema `bos` in the database of BOS_DATABASE_URL to the newest revision.",
    done="The schema bos has the newest revision.",
    load_database=load_database,
)

serve = serve_command(load_strictly, load_service)
migrate = migrate_command(MIGRATION)
replay = replay_command("Postgres", consumed_topics, open_container)
