"""The steps of the pipeline file, as far as BOS needs them."""

from collections.abc import Mapping
from pathlib import Path

from batch_orchestrator_service.running.planning import Step
from service_libs.pipeline_file.reading import read_pipelines


def load_steps(path: Path) -> Mapping[str, Step]:
    """Return the steps by name.

    Raises:
        PipelineConfigurationError: the file cannot be read, or has faults; all of them are named.
    """
    return {
        name: Step(event_type=step.event_type, depends_on=tuple(step.depends_on))
        for name, step in read_pipelines(path).steps.items()
    }
