"""Pipelines: named graphs of steps, and their order.

Pure; linear in steps and dependencies, but for the heap that keeps the order of the file.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from batch_conductor_service.models import StepName
from common_core.pipeline_version import hash_of, sub_graph, version_of

KEPT_PIPELINES = 256


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
    """A named, acyclic graph of steps; `steps` keeps the order of the file.

    `ordered` has the steps with dependencies first. `version` is a hash of the definition.

    Raises:
        ValueError: the graph has a cycle.
    """

    name: str
    description: str
    steps: tuple[PipelineStep, ...]
    ordered: tuple[PipelineStep, ...] = field(init=False, repr=False, compare=False)
    version: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive once what every request needs."""
        object.__setattr__(self, "ordered", topological_order(self.steps))
        object.__setattr__(self, "version", version_of(self.steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDependencies:
    """What each step is made from, over all pipelines: a step has the same ones in each of them.

    `version` is a hash of all of it: counts that were made by other dependencies are of no use.
    """

    depends_on: Mapping[StepName, tuple[StepName, ...]]
    version: str


class PipelineCatalog:
    """All pipelines of the file, and every step as a pipeline with what it depends on.

    Immutable to its callers. The sub-graph of a step is made when first asked for and kept: those
    of all steps together are quadratic in size, and few are ever asked for.
    """

    def __init__(self, pipelines: Mapping[str, Pipeline]) -> None:
        self.pipelines: Mapping[str, Pipeline] = MappingProxyType(dict(pipelines))
        self._first_with = _first_with_each_step(self.pipelines.values())
        self.find: Callable[[str], Pipeline | None] = lru_cache(KEPT_PIPELINES)(self._find)
        self._step_pipelines: dict[StepName, Pipeline] = {}
        needs = {s.name: s.depends_on for one in self.pipelines.values() for s in one.steps}
        ordered = [[name, sorted(some)] for name, some in sorted(needs.items())]
        self.dependencies = StepDependencies(depends_on=needs, version=hash_of(ordered))

    @property
    def names(self) -> list[str]:
        """Every name that `find` knows: pipelines first, then the steps."""
        return list(dict.fromkeys([*self.pipelines, *self._first_with]))

    def _find(self, name: str) -> Pipeline | None:
        if pipeline := self.pipelines.get(name):
            return pipeline
        whole = self._first_with.get(StepName(name))
        if whole is None:
            return None
        steps = sub_graph(whole.steps, [StepName(name)])
        return Pipeline(name=name, description=f"Step {name}", steps=steps)


def topological_order(steps: Sequence[PipelineStep]) -> tuple[PipelineStep, ...]:
    """Return the steps with dependencies first; of those that are free, in the order of the file.

    Raises:
        ValueError: the graph has a cycle; a file with one is refused before.
    """
    place = {step.name: index for index, step in enumerate(steps)}
    followers: list[list[int]] = [[] for _ in steps]
    awaited = [len(step.depends_on) for step in steps]
    for index, step in enumerate(steps):
        for name in step.depends_on:
            followers[place[name]].append(index)
    free = [index for index, count in enumerate(awaited) if not count]  # sorted, so a heap
    ordered: list[PipelineStep] = []
    while free:
        done = heapq.heappop(free)
        ordered.append(steps[done])
        for index in followers[done]:
            awaited[index] -= 1
            if not awaited[index]:
                heapq.heappush(free, index)
    if len(ordered) < len(steps):
        raise ValueError("The graph has a cycle.")
    return tuple(ordered)


def _first_with_each_step(pipelines: Iterable[Pipeline]) -> dict[StepName, Pipeline]:
    first: dict[StepName, Pipeline] = {}
    for pipeline in pipelines:
        for step in pipeline.steps:
            first.setdefault(step.name, pipeline)
    return first
