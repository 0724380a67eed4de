"""`bcs local`."""

import sys
from pathlib import Path

import click

DEFAULT_PORT = 4002
DEFAULT_GATEWAY_PORT = 4001


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port of BCS; another is chosen if it is taken.",
)
@click.option(
    "--gateway-port",
    type=click.IntRange(1, 65535),
    default=DEFAULT_GATEWAY_PORT,
    show_default=True,
    help="Port of the gateway; another is chosen if it is taken.",
)
@click.option("--no-wait", is_flag=True, help="End after the story instead of serving on.")
@click.option(
    "--data",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=".local",
    show_default=True,
    help="Where the servers keep their data and logs.",
)
@click.option("--remove-data", is_flag=True, help="Only remove that data.")
def local(
    port: int, gateway_port: int, directory: Path, *, no_wait: bool, remove_data: bool
) -> None:
    """Run BCS, BOS and the gateway with servers of their own, and show their main job.

    Starts Valkey, PostgreSQL and a Kafka broker from wheels, migrates, serves, sends sample batches
    through the services, and serves on until Ctrl-C, which ends everything. Run it where
    alembic.ini is.
    """
    from local_stack.run import LocalRun, Ports
    from local_stack.stack import remove_stack_data

    if remove_data:
        remove_stack_data(directory)
        return
    ports = Ports(bcs=port, gateway=gateway_port)
    sys.exit(LocalRun(directory.absolute(), ports, is_serving_on=not no_wait).run())
