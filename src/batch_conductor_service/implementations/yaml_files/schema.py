"""The form of the pipeline file, and what of a document does not have it, its graphs included.

The faults of graphs are found even where the form has faults, too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from batch_conductor_service.domain.pipelines import Pipeline, PipelineStep, find_cycles
from batch_conductor_service.implementations.yaml_files.documents import Document, Fault, Path
from batch_conductor_service.models import StepName
from common_core.fields import is_identifier

MAX_NAME_LENGTH = 100  # characters; what `requested_pipeline` may have


def _check_name(name: str) -> str:
    if len(name) <= MAX_NAME_LENGTH and is_identifier(name):
        return name
    raise PydanticCustomError(
        "name", f"a name has 1 to {MAX_NAME_LENGTH} letters, digits or . _ ~ @ + = -"
    )


Name = Annotated[str, AfterValidator(_check_name)]
NonEmpty = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StepModel(_Model):
    """One step of a pipeline."""

    name: Name
    service_name: NonEmpty
    event_type: NonEmpty
    event_data_model: NonEmpty
    depends_on: list[Name] = []

    def to_step(self) -> PipelineStep:
        """Return the step as the domain knows it."""
        return PipelineStep(
            name=StepName(self.name),
            service_name=self.service_name,
            event_type=self.event_type,
            event_data_model=self.event_data_model,
            depends_on=tuple(StepName(name) for name in self.depends_on),
        )


class PipelineModel(_Model):
    """One pipeline."""

    description: str = ""
    steps: Annotated[list[StepModel], Field(min_length=1)]


class FileModel(_Model):
    """All of the file."""

    pipelines: Annotated[dict[Name, PipelineModel], Field(min_length=1)]

    def to_pipelines(self) -> dict[str, Pipeline]:
        """Return the pipelines as the domain knows them; they must be free of faults."""
        return {
            name: Pipeline(
                name=name,
                description=pipeline.description,
                steps=tuple(step.to_step() for step in pipeline.steps),
            )
            for name, pipeline in self.pipelines.items()
        }


@dataclass(frozen=True, slots=True)
class _Step:
    """As much of a step as its place in the graph needs."""

    name: StepName
    line: int
    needs: dict[StepName, int]  # each dependency with its line


@dataclass(frozen=True, slots=True)
class _Graph:
    pipeline: str
    line: int
    steps: list[_Step]


def read_file(document: Document) -> tuple[FileModel | None, list[Fault]]:
    """Return the file's content, or what is wrong with its form."""
    try:
        return FileModel.model_validate(document.value), []
    except ValidationError as exc:
        return None, [_fault(document, error) for error in exc.errors(include_url=False)]


def describe(document: Document, path: Path) -> str:
    """Return the path in the words of the file: pipeline, step, key."""
    words: list[str] = []
    place: Path = ()
    for part in path:
        place = (*place, part)
        match place:
            case ("pipelines", str(name)):
                words.append(f"pipeline {name!r}")
            case ("pipelines", _, "steps", int(index)):
                words.append(f"step {_step_name(document, place) or f'number {index + 1}'}")
            case ("pipelines",) | ("pipelines", _, "steps") if place != path:
                continue
            case _:
                words.append(f"item {part + 1}" if isinstance(part, int) else part)
    return ", ".join(words)


def find_graph_faults(document: Document) -> list[Fault]:
    """Return the faults of every graph, and where two graphs disagree about a step."""
    graphs = list(_graphs(document))
    faults = [fault for graph in graphs for fault in _faults_within(graph)]
    return [*faults, *_disagreements(graphs)]


def _step_name(document: Document, path: Path) -> str | None:
    value: Any = document.value
    for part in path:
        value = value[part]
    name = value.get("name") if isinstance(value, dict) else None
    return f"{name!r}" if name else None


def _fault(document: Document, error: ErrorDetails) -> Fault:
    path = tuple(part for part in error["loc"] if part != "[key]")
    match error["type"]:
        case "extra_forbidden":
            path, key = path[:-1], path[-1]
            line, text = document.line_of((*path, key)), f"unknown key {key!r}"
        case "missing":
            line, text = document.line_of(path), f"missing key {path[-1]!r}"
            path = path[:-1]
        case "too_short":
            line = document.line_of(path)
            text = "the pipeline has no steps" if path[1:] else "the file has no pipelines"
            path = path[:-1]
        case _:
            line, text = document.line_of(path), _in_words(error)
    return Fault(line, ": ".join(filter(None, [describe(document, path), text])))


def _in_words(error: ErrorDetails) -> str:
    expected = {
        "string_type": "expected a text",
        "list_type": "expected a list",
        "dict_type": "expected a mapping",
        "model_type": "expected a mapping",
        "string_too_short": "expected a text that is not empty",
    }
    return expected.get(error["type"], error["msg"])


def _graphs(document: Document) -> Iterator[_Graph]:
    root = document.value
    pipelines = root.get("pipelines") if isinstance(root, dict) else None
    for name, pipeline in pipelines.items() if isinstance(pipelines, dict) else ():
        steps = pipeline.get("steps") if isinstance(pipeline, dict) else None
        if isinstance(steps, list):
            line = document.line_of(("pipelines", name))
            yield _Graph(name, line, list(_steps(document, name, steps)))


def _steps(document: Document, pipeline: str, steps: list[object]) -> Iterator[_Step]:
    for index, step in enumerate(steps):
        path = ("pipelines", pipeline, "steps", index)
        if isinstance(step, dict) and isinstance(step.get("name"), str):
            needed = step.get("depends_on")
            places = enumerate(needed) if isinstance(needed, list) else ()
            needs = {
                StepName(name): document.line_of((*path, "depends_on", place))
                for place, name in places
                if isinstance(name, str)
            }
            yield _Step(StepName(step["name"]), document.line_of((*path, "name")), needs)


def _faults_within(graph: _Graph) -> Iterator[Fault]:
    first: dict[StepName, _Step] = {}
    for step in graph.steps:
        known = first.setdefault(step.name, step)
        if known is not step:
            text = f"step {step.name!r} stands already on line {known.line}"
            yield Fault(step.line, f"pipeline {graph.pipeline!r}: {text}")
    for step in graph.steps:
        for name, line in step.needs.items():
            if name not in first:
                place = f"pipeline {graph.pipeline!r}, step {step.name!r}"
                yield Fault(line, f"{place}: unknown dependency {name!r}")
    needs = {name: list(step.needs) for name, step in first.items()}
    for cycle in find_cycles(needs):
        text = f"pipeline {graph.pipeline!r}: cycle: {' -> '.join(cycle)}"
        yield Fault(first[cycle[0]].line, text)


def _disagreements(graphs: Sequence[_Graph]) -> Iterator[Fault]:
    first: dict[StepName, tuple[_Step, str]] = {}
    for graph in graphs:
        for step in graph.steps:
            known, pipeline = first.setdefault(step.name, (step, graph.pipeline))
            if pipeline != graph.pipeline and set(known.needs) != set(step.needs):
                yield Fault(
                    step.line,
                    f"pipeline {graph.pipeline!r}, step {step.name!r}: depends on "
                    f"{_listed(step)} here, and on {_listed(known)} in pipeline {pipeline!r} "
                    f"on line {known.line}",
                )


def _listed(step: _Step) -> str:
    return f"[{', '.join(sorted(step.needs))}]"
