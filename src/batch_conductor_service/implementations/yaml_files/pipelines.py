"""The pipelines, from their YAML file. Every fault of the file is named at once."""

from pathlib import Path

import structlog

from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.exceptions import PipelineConfigurationError
from batch_conductor_service.implementations.yaml_files.documents import (
    UnreadableDocumentError,
    read_document,
)
from batch_conductor_service.implementations.yaml_files.graph_faults import find_graph_faults
from batch_conductor_service.implementations.yaml_files.schema import read_file
from batch_conductor_service.metrics import Metrics

MAX_FILE_BYTES = 1024 * 1024

logger = structlog.get_logger(__name__)


class DefaultPipelineGenerator:
    """Reads the pipelines anew at each `load`; without metrics it counts nothing."""

    def __init__(self, path: Path, metrics: Metrics | None = None) -> None:
        self._path = path
        self._metrics = metrics

    def load(self) -> PipelineCatalog:
        try:
            catalog = self._load()
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

    def _load(self) -> PipelineCatalog:
        try:
            document = read_document(self._read_text())
        except UnreadableDocumentError as exc:
            raise self._refuse(*map(str, sorted(exc.faults))) from None
        file, faults = read_file(document)
        faults = sorted({*document.faults, *faults, *find_graph_faults(document)})
        if file is None or faults:
            raise self._refuse(*map(str, faults))
        return PipelineCatalog(file.to_pipelines())

    def _read_text(self) -> str:
        content = self._read()
        if len(content) > MAX_FILE_BYTES:
            raise self._refuse(f"the file has more than {MAX_FILE_BYTES} bytes")
        try:
            return content.decode()
        except UnicodeDecodeError as exc:
            line = content.count(b"\n", 0, exc.start) + 1
            raise self._refuse(f"line {line}: the file is not UTF-8") from exc

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                return file.read(MAX_FILE_BYTES + 1)
        except OSError as exc:
            raise self._refuse(f"the file cannot be read: {exc.strerror}") from exc

    def _refuse(self, *faults: str) -> PipelineConfigurationError:
        return PipelineConfigurationError(str(self._path), list(faults))
