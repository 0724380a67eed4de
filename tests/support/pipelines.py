"""Pipelines for tests: the ones of the service, and random graphs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hypothesis import strategies as st

from batch_conductor_service.domain.pipelines import Pipeline, PipelineCatalog, PipelineStep
from batch_conductor_service.implementations.yaml_files.pipelines import DefaultPipelineGenerator
from batch_conductor_service.models import StepName

PIPELINES_FILE = Path(__file__).parents[2] / "pipelines.yaml"

Needs = Mapping[str, Sequence[str]]


def service_catalog() -> PipelineCatalog:
    """Return the pipelines that the service is delivered with."""
    return DefaultPipelineGenerator(PIPELINES_FILE).load()


DEPENDENCIES = service_catalog().dependencies


def pipeline_step(name: str, depends_on: Sequence[str] = ()) -> PipelineStep:
    """Return a step that nothing but its place in the graph distinguishes."""
    return PipelineStep(
        name=StepName(name),
        service_name=f"{name}_service",
        event_type=f"{name}.initiate.v1",
        event_data_model="InitiateV1",
        depends_on=tuple(map(StepName, depends_on)),
    )


def pipeline(needs: Needs, name: str = "pipeline") -> Pipeline:
    """Return the pipeline in which each step depends on what `needs` says, in that order."""
    steps = tuple(pipeline_step(step, depends_on) for step, depends_on in needs.items())
    return Pipeline(name=name, description="", steps=steps)


def layered(layers: int, width: int, dependencies: int) -> dict[str, list[str]]:
    """Return a graph in which each step depends on several of the layer before it."""
    return {
        f"step-{layer}-{place}": [
            f"step-{layer - 1}-{(place + shift) % width}"
            for shift in range(dependencies if layer else 0)
        ]
        for layer in range(layers)
        for place in range(width)
    }


@st.composite
def acyclic_graphs(draw: st.DrawFn, max_steps: int = 12) -> dict[str, list[str]]:
    """Draw a graph without cycles, its steps in any order of declaration."""
    names = [f"step-{number}" for number in range(draw(st.integers(1, max_steps)))]
    needs = {
        name: draw(st.lists(st.sampled_from(names[:number]), max_size=4)) if number else []
        for number, name in enumerate(names)
    }
    return {name: needs[name] for name in draw(st.permutations(names))}


@st.composite
def graphs(draw: st.DrawFn, max_steps: int = 8) -> dict[str, list[str]]:
    """Draw any graph, mostly with cycles."""
    names = [f"step-{number}" for number in range(draw(st.integers(1, max_steps)))]
    return {name: draw(st.lists(st.sampled_from(names), max_size=3)) for name in names}
