"""The pipeline file, read whole or refused. Every fault of it is named at once.

Every service that knows pipelines reads the same file by this; what it makes of it is its own.
"""

from pathlib import Path

from service_libs.exceptions import PipelineConfigurationError
from service_libs.pipeline_file.documents import UnreadableDocumentError, read_document
from service_libs.pipeline_file.graph_faults import find_graph_faults
from service_libs.pipeline_file.schema import FileModel, read_file

MAX_FILE_BYTES = 1024 * 1024


def read_pipelines(path: Path) -> FileModel:
    """Return what the file says.

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
    return file


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
