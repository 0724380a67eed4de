"""`bcs pipelines`."""

from pathlib import Path

import click

from batch_conductor_service.config import load_settings
from service_libs.cli.operating import Output


@click.group()
def pipelines() -> None:
    """Look after the pipeline file."""


@pipelines.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def validate(file: Path | None) -> None:
    """Check FILE (the service's own by default) and show its pipelines.

    Every fault of a bad file is named, with its place.
    """
    from rich.table import Table

    from batch_conductor_service.domain.pipelines import topological_order
    from batch_conductor_service.implementations.yaml_files.pipelines import read_catalog

    path = file or load_settings().pipeline_config_path
    catalog = read_catalog(path)
    table = Table(title=f"{path}: {len(catalog.pipelines)} pipelines, no faults")
    for heading in ("pipeline", "version", "steps, in order", "description"):
        table.add_column(heading)
    for name, pipeline in catalog.pipelines.items():
        order = ", ".join(step.name for step in topological_order(pipeline.steps))
        table.add_row(name, pipeline.version, order, pipeline.description)
    Output(is_json=False).show(table)
