"""The command of a service: quick to say what it can do, and with what it says of an error of ours.

Most of a service's time to start goes to imports, and its help needs none of them. So a subcommand
is loaded when it is called.
"""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from service_libs.exceptions import ServiceError


class Subcommand(NamedTuple):
    """Where a subcommand is, as `module:name`, and what it does, as the group's help has it."""

    place: str
    help: str


class ServiceGroup(click.Group):
    """Tells an error of ours on standard error, without a traceback, and exits with 1."""

    def __init__(self, *, subcommands: Mapping[str, Subcommand], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._subcommands = subcommands

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ServiceError as exc:
            raise click.ClickException(str(exc)) from exc

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(self._subcommands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in self._subcommands:
            return None
        module, _, name = self._subcommands[cmd_name].place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            names = self.list_commands(ctx)
            formatter.write_dl([(name, self._subcommands[name].help) for name in names])
