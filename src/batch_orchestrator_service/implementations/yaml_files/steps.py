"""The steps of the pipeline file, as far as BOS needs them.

BCS, which has the same file, judges its graphs; here a step only has to be the same wherever it is
named.
"""

from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from batch_orchestrator_service.running.planning import Step
from service_libs.exceptions import SettingsError

MAX_FILE_BYTES = 1024 * 1024


class _Step(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    event_type: str
    depends_on: tuple[str, ...] = ()


class _Pipeline(BaseModel):
    model_config = ConfigDict(extra="ignore")

    steps: tuple[_Step, ...]


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")

    pipelines: dict[str, _Pipeline]


def load_steps(path: Path) -> Mapping[str, Step]:
    """Return the steps by name.

    Raises:
        SettingsError: the file cannot be read, or is no pipeline file; it is named.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise SettingsError(f"BOS_PIPELINE_CONFIG_PATH: {path} is larger than 1 MiB")
        parsed = _File.model_validate(yaml.safe_load(content))
    except (OSError, yaml.YAMLError, ValidationError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no pipeline file"
        raise SettingsError(f"BOS_PIPELINE_CONFIG_PATH: {path}: {reason}") from exc
    steps: dict[str, Step] = {}
    for pipeline in parsed.pipelines.values():
        for one in pipeline.steps:
            step = Step(event_type=one.event_type, depends_on=one.depends_on)
            if steps.setdefault(one.name, step) != step:
                raise SettingsError(
                    f"BOS_PIPELINE_CONFIG_PATH: {path}: step {one.name} differs between pipelines"
                )
    return steps
