"""`bcs local`."""

import sys
from pathlib import Path

import click

DEFAULT_PORT = 4002


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port of the service; another is chosen if it is taken.",
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
def local(port: int, directory: Path, *, no_wait: bool, remove_data: bool) -> None:
    """Run the service with servers of its own, and show its main job.

    Starts Valkey, PostgreSQL and a Kafka broker from wheels, migrates, serves, sends a sample batch
    through Kafka, and serves on until Ctrl-C, which ends everything. Run it where alembic.ini is.
    """
    from local_stack.run import LocalRun
    from local_stack.stack import remove_stack_data

    if remove_data:
        remove_stack_data(directory)
        return
    sys.exit(LocalRun(directory.absolute(), port=port, is_serving_on=not no_wait).run())
