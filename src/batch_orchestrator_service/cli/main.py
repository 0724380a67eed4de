"""The command and its subcommands. Each loads only what it needs, when it is called."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from batch_orchestrator_service.cli.runs import cancel, resend, runs, show
from batch_orchestrator_service.config import Settings, load_settings
from service_libs.cli.group import ServiceGroup
from service_libs.cli.migrate import Migration, migrate_command
from service_libs.cli.replay import replay_command
from service_libs.cli.serve import serve_command

if TYPE_CHECKING:
    from dishka import AsyncContainer
    from sqlalchemy.ext.asyncio import AsyncEngine

    from service_libs.serving import ServedService


@click.group(cls=ServiceGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="batch-conductor-service", message="%(version)s")
def main() -> None:
    """Run the pipelines that clients ask for over batches of essays, phase by phase.

    Settings come from BOS_... environment variables.
    """


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


def consumed_topics() -> Sequence[str]:
    """Return what may be replayed."""
    from batch_orchestrator_service.events import decoding

    return decoding.consumed_topics()


MIGRATION = Migration(
    command="bos",
    section="bos",
    help="Bring the schema `bos` in the database of BOS_DATABASE_URL to the newest revision.",
    done="The schema bos has the newest revision.",
    load_database=load_database,
)

for command in (
    serve_command(load_strictly, load_service),
    migrate_command(MIGRATION),
    runs,
    show,
    resend,
    cancel,
    replay_command("Postgres", consumed_topics, open_container),
):
    main.add_command(command)
