"""`bcs migrate`."""

import asyncio
from pathlib import Path

import click

from batch_conductor_service.config import Settings, load_settings
from service_libs.exceptions import StoreUnavailableError, TransientError, UnfitStoreError

ALEMBIC_FILE = Path("alembic.ini")
RETRY_SECONDS = 0.5


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

    from service_libs.postgres.errors import translated_errors

    if not ALEMBIC_FILE.exists():
        raise click.ClickException(
            "alembic.ini is not here: run `bcs migrate` in the repository's root."
        )
    settings = load_settings(refuse_unknown=True)
    asyncio.run(_wait_for_database(settings, wait_seconds))
    try:
        with translated_errors():
            upgrade(Config(ALEMBIC_FILE), "head")
    except CommandError as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo("The database has the newest schema.")


async def _wait_for_database(settings: Settings, timeout_seconds: float) -> None:
    """Return when Postgres answers.

    Raises:
        StoreUnavailableError: it did not in time; the message says why.
        UnfitStoreError: it did, and is not in UTF-8.
    """
    from batch_conductor_service.implementations.postgres.engine import (
        create_engine,
        database_address,
    )
    from service_libs.postgres.health import PostgresProbe

    engine = create_engine(settings)
    where = database_address(settings).place
    is_said = False
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    try:
        while True:
            try:
                return await PostgresProbe(engine).ping()
            except UnfitStoreError:
                raise
            except TransientError as exc:
                if asyncio.get_running_loop().time() > deadline:
                    raise StoreUnavailableError(
                        f"Postgres did not answer at {where} within {timeout_seconds:g} s:"
                        f" {_root_cause(exc)}"
                    ) from exc
            if not is_said:
                click.echo(f"Waiting for Postgres at {where} ...")
                is_said = True
            await asyncio.sleep(RETRY_SECONDS)
    finally:
        await engine.dispose()


def _root_cause(error: BaseException) -> str:
    """Return what the driver said, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
