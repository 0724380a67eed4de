"""`migrate`, of every service with tables."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

ALEMBIC_FILE = Path("alembic.ini")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """What a service's command migrates, and what it says.

    Attributes:
        command: the service's, as a person types it.
        section: of the file of Alembic.
        help: what the command does, in a sentence.
        done: what is said at the end.
        load_database: reads the settings; returns the pool, and in words where it leads.
    """

    command: str
    section: str
    help: str
    done: str
    load_database: Callable[[], "tuple[AsyncEngine, str]"]


def migrate_command(migration: Migration) -> click.Command:
    """Return the command."""
    place = "Run it where alembic.ini is, in the repository's root."

    @click.command(help=f"{migration.help}\n\n{place}")
    @click.option(
        "--wait",
        "wait_seconds",
        type=click.FloatRange(min=0),
        default=60,
        show_default=True,
        help="Longest wait for Postgres to come up, in seconds.",
    )
    def migrate(wait_seconds: float) -> None:
        if not ALEMBIC_FILE.exists():
            raise click.ClickException(
                f"alembic.ini is not here: run `{migration.command} migrate`"
                " in the repository's root."
            )
        _migrate(migration, wait_seconds)
        click.echo(migration.done)

    return migrate


def _migrate(migration: Migration, wait_seconds: float) -> None:
    from alembic.command import upgrade
    from alembic.config import Config
    from alembic.util import CommandError

    from service_libs.postgres.errors import translated_errors
    from service_libs.postgres.waiting import wait_for_database

    engine, place = migration.load_database()
    asyncio.run(wait_for_database(engine, place, wait_seconds, say=click.echo))
    try:
        with translated_errors():
            upgrade(Config(ALEMBIC_FILE, ini_section=migration.section), "head")
    except CommandError as exc:
        raise click.ClickException(str(exc)) from exc
