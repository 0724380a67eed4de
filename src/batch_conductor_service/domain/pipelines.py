"""Pipelines: named graphs of steps, their faults and their order.

Pure; imports only the standard library. Everything here is linear in steps and dependencies, but
for the heap that keeps the order of the file.
"""

import hashlib
import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from batch_conductor_service.models import StepName


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStep:
    """One step of a pipeline, as the file declares it."""

    name: StepName
    service_name: str
    event_type: str
    event_data_model: str
    depends_on: tuple[StepName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A named, acyclic graph of steps; `steps` keeps the order of the file."""

    name: str
    description: str
    steps: tuple[PipelineStep, ...]
    version: str = field(default="")

    def __post_init__(self) -> None:
        """Derive the version from the definition."""
        object.__setattr__(self, "version", _version(self.steps))


@dataclass(frozen=True, slots=True)
class PipelineCatalog:
    """All pipelines of the file, and every step as a pipeline with what it depends on."""

    pipelines: Mapping[str, Pipeline]

    def find(self, name: str) -> Pipeline | None:
        """Return the pipeline of that name, else the sub-graph of that step, else None."""
        return self.pipelines.get(name) or self._find_step(StepName(name))

    def _find_step(self, name: StepName) -> Pipeline | None:
        for pipeline in self.pipelines.values():
            if any(step.name == name for step in pipeline.steps):
                steps = sub_graph(pipeline.steps, [name])
                return Pipeline(name=name, description=f"Step {name}", steps=steps)
        return None


def sub_graph(
    steps: Sequence[PipelineStep], targets: Iterable[StepName]
) -> tuple[PipelineStep, ...]:
    """Return the targets and all they depend on, in the order of `steps`."""
    by_name = {step.name: step for step in steps}
    wanted: set[StepName] = set()
    frontier = list(targets)
    while frontier:
        name = frontier.pop()
        if name not in wanted:
            wanted.add(name)
            frontier.extend(by_name[name].depends_on)
    return tuple(step for step in steps if step.name in wanted)


def topological_order(steps: Sequence[PipelineStep]) -> tuple[PipelineStep, ...]:
    """Return the steps with dependencies first; of those that are free, in the order of the file.

    Raises:
        ValueError: the graph has a cycle; `find_cycle` names it.
    """
    place = {step.name: index for index, step in enumerate(steps)}
    missing = [len(set(step.depends_on)) for step in steps]
    dependants: list[list[int]] = [[] for _ in steps]
    for index, step in enumerate(steps):
        for dependency in set(step.depends_on):
            dependants[place[dependency]].append(index)
    free = [index for index, count in enumerate(missing) if count == 0]
    ordered: list[PipelineStep] = []
    while free:
        index = heapq.heappop(free)
        ordered.append(steps[index])
        for dependant in dependants[index]:
            missing[dependant] -= 1
            if missing[dependant] == 0:
                heapq.heappush(free, dependant)
    if len(ordered) != len(steps):
        raise ValueError("the steps depend on each other in a cycle")
    return tuple(ordered)


def find_cycle(steps: Sequence[PipelineStep]) -> list[StepName] | None:
    """Return a cycle as a path that ends where it starts, or None.

    What remains after removing every step that nothing in the rest waits for has only steps with a
    dependency in the rest: following the first of them must come back.
    """
    rest = _without_free_steps(steps)
    if not rest:
        return None
    path: list[StepName] = []
    seen: dict[StepName, int] = {}
    name = next(iter(rest))
    while name not in seen:
        seen[name] = len(path)
        path.append(name)
        name = next(dependency for dependency in rest[name] if dependency in rest)
    return [*path[seen[name] :], name]


def _without_free_steps(steps: Sequence[PipelineStep]) -> dict[StepName, tuple[StepName, ...]]:
    names = {step.name for step in steps}
    rest = {s.name: tuple(d for d in s.depends_on if d in names) for s in steps}
    dependants: dict[StepName, list[StepName]] = {name: [] for name in names}
    missing = {name: len(set(needed)) for name, needed in rest.items()}
    for name, needed in rest.items():
        for dependency in set(needed):
            dependants[dependency].append(name)
    free = [name for name, count in missing.items() if count == 0]
    while free:
        name = free.pop()
        del rest[name]
        for dependant in dependants[name]:
            missing[dependant] -= 1
            if missing[dependant] == 0:
                free.append(dependant)
    return rest


def _version(steps: Sequence[PipelineStep]) -> str:
    definition = json.dumps([asdict(step) for step in steps], sort_keys=True)
    return hashlib.sha256(definition.encode()).hexdigest()[:16]
