"""What the commands that look after a running service share: how they open it, answer and exit."""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn

import click

from service_libs.exceptions import ServiceError

if TYPE_CHECKING:
    from dishka import AsyncContainer
    from rich.status import Status
    from rich.table import Table

NOTHING_DIFFERS, SOMETHING_DIFFERS, COULD_NOT_TELL = 0, 1, 2  # exit codes
PIPED_COLUMNS = 1000  # wide enough that no name is cut


class CouldNotTell(click.ClickException):
    """The command could not do its work; 1 would say that it had, and found something."""

    exit_code = COULD_NOT_TELL


class Output:
    """Where a command answers: lines of JSON for a machine, or tables and sentences for a person.

    A command gives both forms of all it has to say; only the one that is asked for is printed.
    """

    def __init__(self, *, is_json: bool) -> None:
        from rich.console import Console

        # Names are printed as they are, and without an end where piped.
        width = None if sys.stdout.isatty() else PIPED_COLUMNS
        self._console = Console(
            width=width, quiet=is_json, markup=False, highlight=False, emoji=False
        )
        self._is_json = is_json

    def write(self, kind: str, **fields: object) -> None:
        """Print one object, for a machine."""
        if self._is_json:
            click.echo(json.dumps({"type": kind} | fields))

    def show(self, what: "str | Table") -> None:
        """Print a sentence or a table, for a person."""
        self._console.print(what, soft_wrap=isinstance(what, str))

    def progress(self) -> "Status":
        """Return what shows, on a terminal, how far the command is; nothing is left of it."""
        return self._console.status("...")


def carry_out(
    open_container: "Callable[[], AsyncContainer]",
    work: "Callable[[AsyncContainer], Awaitable[int]]",
) -> NoReturn:
    """Do the work with the service's container, and exit with the code that it returns.

    Logs go to standard error, and only errors: standard output is the answer's.

    Raises:
        CouldNotTell: something cannot be reached or done; it says what in one line.
    """
    from service_libs.logging import configure_logging

    async def run() -> int:
        container = open_container()
        try:
            return await work(container)
        except ServiceError as exc:
            raise CouldNotTell(str(exc)) from exc
        finally:
            await container.close()

    configure_logging("ERROR", sys.stderr)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says what is said here
    sys.exit(asyncio.run(run()))
