"""What the commands that look after a running service share."""

import logging
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from batch_conductor_service.config import Settings
from batch_conductor_service.models import BatchId
from common_core.identifiers import is_identifier
from service_libs.exceptions import ServiceError

if TYPE_CHECKING:
    from dishka import AsyncContainer
    from rich.console import Console

NOTHING_DIFFERS, SOMETHING_DIFFERS, COULD_NOT_TELL = 0, 1, 2  # exit codes
PIPED_COLUMNS = 1000  # wide enough that no name is cut


class CouldNotTell(click.ClickException):
    """The command could not do its work; 1 would say that it had, and found something."""

    exit_code = COULD_NOT_TELL


@asynccontextmanager
async def opened(settings: Settings) -> "AsyncIterator[AsyncContainer]":
    """Give the service's container, and tell what cannot be reached in one line.

    Logs go to standard error, and only errors: standard output is the answer's.
    """
    from batch_conductor_service.startup_setup import build_container
    from service_libs.logging import configure_logging

    configure_logging("ERROR", sys.stderr)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells what is told here
    container = build_container(settings)
    try:
        yield container
    except ServiceError as exc:
        raise CouldNotTell(str(exc)) from exc
    finally:
        await container.close()


def batch_ids(
    _context: click.Context, _parameter: click.Parameter, values: Sequence[str]
) -> list[BatchId]:
    """Return the ids; for an argument's `callback`."""
    for value in values:
        if not is_identifier(value):
            raise click.BadParameter(f"'{value}' is no batch id.")
    return [BatchId(value) for value in values]


def require_stores(settings: Settings, *, postgres: bool) -> None:
    """Fail where there is nothing to work on."""
    if settings.uses_memory:
        raise CouldNotTell("These settings keep state in the memory of the service only.")
    if postgres and not settings.postgres_enabled:
        raise CouldNotTell("BCS_POSTGRES_ENABLED is false: there is nothing to merge with.")


def make_console() -> "Console":
    """Return where tables are printed: as wide as the terminal, and without an end where piped."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=PIPED_COLUMNS)
