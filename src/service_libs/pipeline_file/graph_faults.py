"""What is wrong with the graphs of a pipeline file, found even where its form has faults too."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service_libs.pipeline_file.cycles import find_cycles
from service_libs.pipeline_file.documents import Document, Fault


@dataclass(frozen=True, slots=True)
class _Step:
    """As much of a step as its place in the graph needs."""

    name: str
    line: int
    needs: dict[str, int]  # each dependency with its line


@dataclass(frozen=True, slots=True)
class _Graph:
    pipeline: str
    line: int
    steps: list[_Step]


def find_graph_faults(document: Document) -> list[Fault]:
    """Return the faults of every graph, and where two graphs disagree about a step."""
    graphs = list(_graphs(document))
    faults = [fault for graph in graphs for fault in _faults_within(graph)]
    return [*faults, *_disagreements(graphs)]


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
                name: document.line_of((*path, "depends_on", place))
                for place, name in places
                if isinstance(name, str)
            }
            yield _Step(step["name"], document.line_of((*path, "name")), needs)


def _faults_within(graph: _Graph) -> Iterator[Fault]:
    first: dict[str, _Step] = {}
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
    first: dict[str, tuple[_Step, str]] = {}
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
