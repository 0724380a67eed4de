"""The pipelines, from their YAML file. Every fault of the file is named at once."""

from pathlib import Path

import structlog

from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.exceptions import PipelineConfigurationError
from batch_conductor_service.implementations.yaml_files.documents import (
    UnreadableDocumentError,
    read_document,
)
from batch_conductor_service.implementations.yaml_files.schema import find_graph_faults, read_file
from batch_conductor_service.metrics import Metrics

MAX_FILE_BYTES = 1024 * 1024

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
    try:
        document = read_document(_read_text(path))
    except UnreadableDocumentError as exc:
        raise _refuse(path, *map(str, sorted(exc.faults))) from None
    file, faults = read_file(document)
    faults = sorted({*document.faults, *faults, *find_graph_faults(document)})
    if file is None or faults:
        raise _refuse(path, *map(str, faults))
    return PipelineCatalog(file.to_pipelines())


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise _refuse(path, f"the file cannot be read: {exc.strerror}") from exc
    if len(content) > MAX_FILE_BYTES:
        raise _refuse(path, f"the file has more than {MAX_FILE_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise _refuse(path, f"line {line}: the file is not UTF-8") from exc


def _refuse(path: Path, *faults: str) -> PipelineConfigurationError:
    return PipelineConfigurationError(str(path), list(faults))
