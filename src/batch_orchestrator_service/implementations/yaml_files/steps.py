"""The pipeline file, as far as BOS needs it."""

from pathlib import Path

from batch_orchestrator_service.running.planning import Step
from common_core.pipeline_version import sub_graph, version_of
from service_libs.pipeline_file.reading import read_pipelines


class PipelineFile:
    """The steps of all pipelines, and the versions of what may be asked for.

    Raises:
        PipelineConfigurationError: the file cannot be read, or has faults; all of them are named.
    """

    def __init__(self, path: Path) -> None:
        self._file = read_pipelines(path)
        self._versions: dict[str, str] = {}
        self.steps = {
            name: Step(event_type=step.event_type, depends_on=tuple(step.depends_on))
            for name, step in self._file.steps.items()
        }

    def find_version(self, name: str) -> str | None:
        """Return the version of a pipeline, or of a step with all that it depends on."""
        if name not in self._file.pipelines and name not in self.steps:
            return None
        if name not in self._versions:
            self._versions[name] = self._make_version(name)
        return self._versions[name]

    def _make_version(self, name: str) -> str:
        pipelines = self._file.pipelines
        if name in pipelines:
            return version_of(pipelines[name].steps)
        first = next(p for p in pipelines.values() if name in {step.name for step in p.steps})
        return version_of(sub_graph(first.steps, [name]))
