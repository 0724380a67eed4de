"""The names in the pipeline file, as far as a caller may ask for them."""

from pathlib import Path

from service_libs.pipeline_file.reading import read_pipelines


def load_pipeline_names(path: Path) -> frozenset[str]:
    """Return the names that may be asked for: the pipelines', and their steps'.

    Raises:
        PipelineConfigurationError: the file cannot be read, or has faults; all of them are named.
    """
    return frozenset(read_pipelines(path).names)
