"""A pipeline of 5,000 steps.

The limit is `graphlib` of the standard library, which orders the same graph. The order of a
pipeline is made when its file is read; a question then judges each step of it, in that order.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path

import yaml

from batch_conductor_service.domain.pipelines import (
    Pipeline,
    PipelineCatalog,
    PipelineStep,
    topological_order,
)
from batch_conductor_service.implementations.yaml_files.pipelines import read_catalog
from batch_conductor_service.models import BatchCompletionSummary, BatchId, StepName
from batch_conductor_service.resolving.pipeline_resolution import DefaultPipelineRules
from bench.figures import Figure, Goal, middle, rounds
from bench.servers import Servers

STEPS = 5_000
DEPENDENCIES = 5
SEED = 11
GOAL = Goal(bound=2, kind="at most")

Needs = Mapping[str, Sequence[str]]


def measure(servers: Servers, *, is_quick: bool) -> Iterator[Figure]:
    """Measure order, question and file, for several shapes."""
    del servers
    count = 3 if is_quick else 15
    for shape, needs in _shapes().items():
        steps = [_step(name, some) for name, some in needs.items()]
        order = partial(topological_order, steps)
        yield _beside_graphlib(f"order, {shape}", order, needs, count)
        yield _beside_graphlib(f"question, {shape}", _question(steps), needs, count)
        if not is_quick:
            yield _load(shape, needs)
            yield _first_question_of_a_step(shape, steps)


def _shapes() -> dict[str, Needs]:
    chance = random.Random(SEED)  # noqa: S311 - a graph that is the same each time, no secret
    names = [f"s{number}" for number in range(STEPS)]
    return {
        "a chain": {name: names[max(0, n - 1) : n] for n, name in enumerate(names)},
        "all after one": {name: names[: min(n, 1)] for n, name in enumerate(names)},
        f"{DEPENDENCIES} before each, at random": {
            name: chance.sample(names[:n], min(n, DEPENDENCIES)) for n, name in enumerate(names)
        },
    }


def _step(name: str, depends_on: Sequence[str]) -> PipelineStep:
    return PipelineStep(
        name=StepName(name),
        service_name="service",
        event_type="command.v1",
        event_data_model="CommandV1",
        depends_on=tuple(map(StepName, depends_on)),
    )


def _question(steps: Sequence[PipelineStep]) -> Callable[[], object]:
    """Return what a question does with a pipeline of these steps, of a batch nobody knows."""
    pipeline = Pipeline(name="pipeline", description="", steps=tuple(steps))
    rules, summary = DefaultPipelineRules(), BatchCompletionSummary(batch_id=BatchId("b1"))

    def ask() -> None:
        ordered = rules.resolve_pipeline_dependencies(pipeline)
        rules.validate_pipeline_prerequisites(rules.prune_completed_steps(ordered, summary))

    return ask


def _beside_graphlib(work: str, ours: Callable[[], object], needs: Needs, count: int) -> Figure:
    def theirs() -> object:
        return list(TopologicalSorter(needs).static_order())

    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    for name in rounds(count, "ours", "theirs"):
        taken[name].append(_milliseconds(ours if name == "ours" else theirs))
    return Figure(
        work=work,
        measured=middle(taken["ours"]),
        unit="ms",
        limit=("graphlib", middle(taken["theirs"])),
        goal=GOAL,
    )


def _load(shape: str, needs: Needs) -> Figure:
    """Measure the file's way to a catalog, beside the mere reading of its YAML."""
    with tempfile.TemporaryDirectory(prefix="bcs-bench-") as directory:
        path = Path(directory) / "pipelines.yaml"
        path.write_text(_document(needs))
        ours = middle([_milliseconds(lambda: read_catalog(path)) for _ in range(3)])
        text = path.read_text()
        theirs = middle(
            [_milliseconds(lambda: yaml.load(text, yaml.CSafeLoader)) for _ in range(3)]
        )
    return Figure(work=f"file, {shape}", measured=ours, unit="ms", limit=("PyYAML", theirs))


def _first_question_of_a_step(shape: str, steps: Sequence[PipelineStep]) -> Figure:
    """Measure what is made when a step is asked for by its own name, and kept."""
    pipeline = Pipeline(name="pipeline", description="", steps=tuple(steps))
    catalogs = [PipelineCatalog({"pipeline": pipeline}) for _ in range(3)]
    taken = [_milliseconds(partial(one.find, steps[-1].name)) for one in catalogs]
    return Figure(
        work=f"first question for the last step, {shape}", measured=middle(taken), unit="ms"
    )


def _document(needs: Needs) -> str:
    lines = ["pipelines:", "  all:", "    steps:"]
    for name, some in needs.items():
        fields = f"name: {name}, service_name: s, event_type: t, event_data_model: m"
        lines.append(f"      - {{{fields}, depends_on: [{', '.join(some)}]}}")
    return "\n".join(lines) + "\n"


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
