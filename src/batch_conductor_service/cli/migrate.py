"""`bcs migrate`."""

import asyncio
from pathlib import Path

import click

from batch_conductor_service.config import load_settings

ALEMBIC_FILE = Path("alembic.ini")


@click.command()
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    help="Longest wait for Postgres to come up, in seconds.",
)
def migrate(wait_seconds: float) -> None:
    """Bring the database of BCS_DATABASE_URL to the newest schema.

    Run it where alembic.ini is, in the repository's root.
    """
    from alembic.command import upgrade
    from alembic.config import Config
    from alembic.util import CommandError

    from batch_conductor_service.implementations.postgres.engine import (
        create_engine,
        database_address,
    )
    from service_libs.postgres.errors import translated_errors
    from service_libs.postgres.waiting import wait_for_database

    if not ALEMBIC_FILE.exists():
        raise click.ClickException(
            "alembic.ini is not here: run `bcs migrate` in the repository's root."
        )
    settings = load_settings(refuse_unknown=True)
    place = database_address(settings).place
    asyncio.run(wait_for_database(create_engine(settings), place, wait_seconds, say=click.echo))
    try:
        with translated_errors():
            upgrade(Config(ALEMBIC_FILE), "head")
    except CommandError as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo("The database has the newest schema.")
