import graphlib
import random
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_conductor_service.domain.pipelines import (
    Pipeline,
    PipelineCatalog,
    PipelineStep,
    topological_order,
)
from batch_conductor_service.models import StepName
from common_core.pipeline_version import sub_graph
from service_libs.pipeline_file.cycles import find_cycles
from tests.support.pipelines import (
    acyclic_graphs,
    graphs,
    layered,
    pipeline,
    pipeline_step,
)


def cycles_of(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    return find_cycles(needs)


def names(steps: Sequence[PipelineStep]) -> list[str]:
    return [step.name for step in steps]


def has_cycle(needs: Mapping[str, Sequence[str]]) -> bool:
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError:
        return True
    return False


@given(acyclic_graphs())
def test_every_step_comes_once_and_after_what_it_depends_on(needs: dict[str, list[str]]) -> None:
    ordered = names(pipeline(needs).ordered)

    assert sorted(ordered) == sorted(needs)
    place = {name: index for index, name in enumerate(ordered)}
    assert all(place[d] < place[name] for name, ds in needs.items() for d in ds)


@given(acyclic_graphs())
def test_of_the_steps_that_are_free_the_first_of_the_file_comes_first(
    needs: dict[str, list[str]],
) -> None:
    done: set[str] = set()
    for step in pipeline(needs).ordered:
        free = [n for n, ds in needs.items() if n not in done and done.issuperset(ds)]

        assert step.name == free[0]

        done.add(step.name)


@given(acyclic_graphs(), st.randoms(use_true_random=False))
def test_the_steps_of_a_target_do_not_depend_on_the_order_of_the_file(
    needs: dict[str, list[str]], chance: random.Random
) -> None:
    shuffled = {name: needs[name] for name in chance.sample(list(needs), len(needs))}
    target = StepName(chance.choice(list(needs)))

    steps = sub_graph(pipeline(needs).steps, [target])

    assert set(steps) == set(sub_graph(pipeline(shuffled).steps, [target]))


@given(acyclic_graphs(), st.randoms(use_true_random=False))
def test_a_sub_graph_has_its_target_last_in_the_order_of_the_whole(
    needs: dict[str, list[str]], chance: random.Random
) -> None:
    whole = pipeline(needs)
    target = StepName(chance.choice(list(needs)))

    part = PipelineCatalog({"pipeline": whole}).find(target)

    assert part is not None
    assert names(part.ordered)[-1] == target
    assert list(part.ordered) == [step for step in whole.ordered if step in part.steps]


@given(graphs())
def test_a_cycle_is_found_exactly_where_there_is_one(needs: dict[str, list[str]]) -> None:
    cycles = cycles_of(needs)

    assert bool(cycles) == has_cycle(needs)
    for cycle in cycles:
        assert cycle[0] == cycle[-1]
        assert all(needed in needs[name] for name, needed in pairwise(cycle))


@given(graphs())
def test_every_group_of_steps_that_wait_for_each_other_is_met_by_a_cycle(
    needs: dict[str, list[str]],
) -> None:
    met = [name for cycle in cycles_of(needs) for name in cycle[:-1]]

    assert len(met) == len(set(met)), "two cycles share a step"
    reach = {name: _reachable(needs, name) for name in needs}
    waiting = {name for name in needs if name in reach[name]}
    assert all(any(m in reach[name] and name in reach[m] for m in met) for name in waiting)


def _reachable(needs: Mapping[str, Sequence[str]], start: str) -> set[str]:
    seen: set[str] = set()
    frontier = list(needs[start])
    while frontier:
        name = frontier.pop()
        if name not in seen:
            seen.add(name)
            frontier.extend(needs[name])
    return seen


def test_a_cycle_is_named_with_its_path() -> None:
    needs = {"start": ["a"], "a": ["b"], "b": ["c"], "c": ["a"], "self": ["self", "unknown"]}

    assert cycles_of(needs) == [["a", "b", "c", "a"], ["self", "self"]]


def test_a_cycle_within_a_known_cycle_is_not_named_again() -> None:
    assert cycles_of({"a": ["b"], "b": ["c"], "c": ["a", "b"]}) == [["a", "b", "c", "a"]]


def test_a_pipeline_cannot_have_a_cycle() -> None:
    with pytest.raises(ValueError, match="cycle"):
        pipeline({"a": ["b"], "b": ["a"]})


def test_a_long_chain_is_no_recursion() -> None:
    chain = {f"step-{n}": [f"step-{n + 1}"] for n in range(50_000)} | {"step-50000": ["step-0"]}

    assert len(cycles_of(chain)[0]) == 50_002


def test_a_large_graph_is_searched_and_ordered_in_well_under_a_second() -> None:
    needs = layered(layers=40, width=50, dependencies=12)
    steps = pipeline(needs).steps
    started = time.process_time()

    cycles, ordered = cycles_of(needs), topological_order(steps)

    assert time.process_time() - started < 1
    assert (cycles, len(ordered)) == ([], 2_000)


class TestCatalog:
    catalog = PipelineCatalog(
        {
            "whole": pipeline({"a": [], "b": ["a"], "c": ["a"], "b2": ["b", "c"]}, "whole"),
            "b": pipeline({"a": [], "x": ["a"]}, "b"),
        }
    )

    def test_a_pipeline_is_found_by_its_name_even_when_a_step_has_it_too(self) -> None:
        assert self.catalog.find("b") is self.catalog.pipelines["b"]

    def test_a_step_is_found_with_all_it_depends_on(self) -> None:
        found = self.catalog.find("c")

        assert found is not None
        assert (found.name, names(found.steps)) == ("c", ["a", "c"])

    def test_a_steps_sub_graph_is_made_once(self) -> None:
        assert self.catalog.find("b2") is self.catalog.find("b2")

    def test_nothing_else_is_found(self) -> None:
        assert self.catalog.find("unknown") is None

    def test_all_names_are_known_pipelines_first(self) -> None:
        assert self.catalog.names == ["whole", "b", "a", "c", "b2", "x"]

    def test_a_version_stands_for_the_definition(self) -> None:
        one = pipeline({"a": [], "b": ["a"]}, "one")
        same = Pipeline(name="other", description="Told otherwise.", steps=one.steps)
        changed = Pipeline(
            name="one", description="", steps=(*one.steps, pipeline_step("c", ["b"]))
        )

        assert one.version == same.version
        assert one.version != changed.version
