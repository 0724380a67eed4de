"""The names in the pipeline file; BCS, which has the same file, judges the rest of it."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from service_libs.exceptions import SettingsError

MAX_FILE_BYTES = 1024 * 1024
SETTING = "API_GATEWAY_PIPELINE_CONFIG_PATH"


class _Step(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str


class _Pipeline(BaseModel):
    model_config = ConfigDict(extra="ignore")

    steps: tuple[_Step, ...]


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")

    pipelines: dict[str, _Pipeline]


def load_pipeline_names(path: Path) -> frozenset[str]:
    """Return the names that may be asked for: the pipelines', and their steps'.

    Raises:
        SettingsError: the file cannot be read, or is no pipeline file; it is named.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise SettingsError(f"{SETTING}: {path} is larger than 1 MiB")
        parsed = _File.model_validate(yaml.safe_load(content))
    except (OSError, yaml.YAMLError, ValidationError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no pipeline file"
        raise SettingsError(f"{SETTING}: {path}: {reason}") from exc
    steps = {step.name for pipeline in parsed.pipelines.values() for step in pipeline.steps}
    return frozenset(parsed.pipelines) | steps
