"""The pipelines, as BCS knows them, from their YAML file."""

from pathlib import Path

import structlog

from batch_conductor_service.domain.pipelines import Pipeline, PipelineCatalog, PipelineStep
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import StepName
from service_libs.exceptions import PipelineConfigurationError
from service_libs.pipeline_file.reading import read_pipelines
from service_libs.pipeline_file.schema import StepModel

logger = structlog.get_logger(__name__)


class DefaultPipelineGenerator:
    """Reads the file again at each `load`; without metrics it counts nothing."""

    def __init__(self, path: Path, metrics: Metrics | None = None) -> None:
        self._path = path
        self._metrics = metrics

    def load(self) -> PipelineCatalog:
        try:
            catalog = read_catalog(self._path)
        except PipelineConfigurationError as exc:
            logger.critical(
                "pipeline_configuration_refused", path=str(self._path), faults=exc.faults
            )
            if self._metrics:
                self._metrics.config_load_error.inc()
            raise
        versions = {name: pipeline.version for name, pipeline in catalog.pipelines.items()}
        logger.info("pipelines_loaded", path=str(self._path), versions=versions)
        if self._metrics:
            self._metrics.config_load_success.inc()
        return catalog


def read_catalog(path: Path) -> PipelineCatalog:
    """Return the pipelines of the file.

    Raises:
        PipelineConfigurationError: it cannot be read, or has faults; all of them are named.
    """
    return PipelineCatalog(
        {
            name: Pipeline(
                name=name,
                description=pipeline.description,
                steps=tuple(_to_step(step) for step in pipeline.steps),
            )
            for name, pipeline in read_pipelines(path).pipelines.items()
        }
    )


def _to_step(step: StepModel) -> PipelineStep:
    return PipelineStep(
        name=StepName(step.name),
        service_name=step.service_name,
        event_type=step.event_type,
        event_data_model=step.event_data_model,
        depends_on=tuple(StepName(name) for name in step.depends_on),
    )
