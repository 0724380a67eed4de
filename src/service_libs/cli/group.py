"""The command of a service, with what it says of an error of ours."""

import click

from service_libs.exceptions import ServiceError


class ServiceGroup(click.Group):
    """Tells an error of ours on standard error, without a traceback, and exits with 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ServiceError as exc:
            raise click.ClickException(str(exc)) from exc
