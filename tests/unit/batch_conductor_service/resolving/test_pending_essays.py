"""Which essays still need a phase: named only where leaving the others out is proven right."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_conductor_service.consuming.group_freshness import AlwaysFresh
from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.pending import MAX_PENDING
from batch_conductor_service.domain.resolution import ResolutionRequest
from batch_conductor_service.implementations.memory.batch_state import MockBatchStateRepositoryImpl
from batch_conductor_service.models import BatchId, BatchUpdate
from batch_conductor_service.resolving.pipeline_resolution import (
    DefaultPipelineResolutionService,
    DefaultPipelineRules,
)
from service_libs.exceptions import StoreUnavailableError
from tests.support.builders import evidence, minutes, outcome, registration, update
from tests.support.clocks import SettableClock
from tests.support.pipelines import DEPENDENCIES, service_catalog

THREE = ("e1", "e2", "e3")
Pending = Mapping[str, tuple[str, ...] | None]


async def pending_of(
    repository: MockBatchStateRepositoryImpl,
    name: str = "nlp",
    *,
    total: int | None = None,
    includes_essays: bool = True,
) -> Pending:
    """Return, of each phase that runs, which essays still need it."""
    service = DefaultPipelineResolutionService(
        service_catalog(), DefaultPipelineRules(), repository, AlwaysFresh(SettableClock())
    )
    request = ResolutionRequest(
        batch_id=BatchId("batch"),
        requested_pipeline=name,
        correlation_id="c",
        essays_total=total,
        includes_essays=includes_essays,
    )
    resolution = await service.resolve(request)
    running = set(resolution.final_pipeline)
    return {p.step.name: p.pending for p in resolution.phases if p.step.name in running}


async def knowing(*updates: BatchUpdate) -> MockBatchStateRepositoryImpl:
    repository = MockBatchStateRepositoryImpl(DEPENDENCIES)
    await repository.apply(updates)
    return repository


async def test_an_essay_that_is_done_needs_nothing() -> None:
    repository = await knowing(
        update("batch", registration(3, essays=THREE), evidence("e1"), evidence("e3"))
    )

    pending = await pending_of(repository)

    assert pending["spellcheck"] == ("e2",)


async def test_an_essay_whose_prerequisite_runs_needs_the_next_phase_too() -> None:
    items = [evidence(one, step=step) for one in THREE for step in ("spellcheck", "nlp")]
    failed = evidence("e2", "failed", minutes(1))
    repository = await knowing(update("batch", registration(3, essays=THREE), *items, failed))

    pending = await pending_of(repository)

    assert pending == {"spellcheck": ("e2",), "nlp": ("e2",)}


async def test_an_essay_made_from_something_older_needs_the_phase() -> None:
    items = [evidence(one, step=step) for one in THREE for step in ("spellcheck", "nlp")]
    again = evidence("e3", at=minutes(5))
    repository = await knowing(update("batch", registration(3, essays=THREE), *items, again))

    assert await pending_of(repository) == {"nlp": ("e3",)}


async def test_a_phase_over_the_whole_batch_has_no_essays_of_its_own() -> None:
    repository = await knowing(update("batch", registration(3, essays=THREE)))

    pending = await pending_of(repository, "cj_assessment")

    assert pending == {"spellcheck": THREE, "cj_assessment": None}


@pytest.mark.parametrize(
    "said",
    [
        update("batch", evidence("e1")),
        update("batch", registration(3), evidence("e1")),
        update("batch", registration(4, essays=THREE), evidence("e1")),
        update("batch", registration(3, essays=THREE), registration(3, essays=("e1", "e2", "x"))),
    ],
    ids=["not registered", "no names", "fewer names than essays", "two that contradict"],
)
async def test_without_the_names_of_all_essays_nothing_is_named(said: BatchUpdate) -> None:
    assert set((await pending_of(await knowing(said))).values()) == {None}


async def test_a_caller_who_knows_of_more_essays_is_told_no_names() -> None:
    repository = await knowing(update("batch", registration(3, essays=THREE), evidence("e1")))

    assert set((await pending_of(repository, total=4)).values()) == {None}


async def test_a_phase_that_runs_though_no_essay_needs_it_runs_for_all() -> None:
    """A registration that cannot be read, for example, may have added an essay."""
    done = [evidence(one) for one in THREE]
    repository = await knowing(
        update("batch", registration(3, essays=THREE), *done),
        update("batch", outcome(total=5, at=minutes(5))),
    )

    assert (await pending_of(repository, "spellcheck")) == {"spellcheck": None}


async def test_nobody_asked() -> None:
    repository = await knowing(update("batch", registration(3, essays=THREE)))

    assert set((await pending_of(repository, includes_essays=False)).values()) == {None}


async def test_too_many_are_not_named() -> None:
    names = tuple(f"e{number:06}" for number in range(MAX_PENDING + 1))
    repository = await knowing(update("batch", registration(len(names), essays=names)))

    assert set((await pending_of(repository, "spellcheck")).values()) == {None}


class Changing(MockBatchStateRepositoryImpl):
    """The store has lost something, or heard something, between two readings."""

    async def get_state(self, batch_id: BatchId) -> BatchState:
        state = BatchState(batch_id)
        state.merge((await super().get_state(batch_id)).as_update())
        state.merge(update("batch", evidence("e2", at=minutes(9))))
        return state


class Failing(MockBatchStateRepositoryImpl):
    async def get_state(self, batch_id: BatchId) -> BatchState:
        raise StoreUnavailableError(batch_id)


@pytest.mark.parametrize("kind", [Changing, Failing])
async def test_what_was_read_at_two_moments_names_nobody(
    kind: type[MockBatchStateRepositoryImpl],
) -> None:
    repository = kind(DEPENDENCIES)
    await repository.apply(
        [update("batch", registration(3, essays=THREE), evidence("e2", "failed", minutes(1)))]
    )

    assert set((await pending_of(repository)).values()) == {None}


STATEMENTS = st.builds(
    evidence,
    st.sampled_from(THREE),
    st.sampled_from(["completed", "failed", "pending"]),
    st.builds(minutes, st.integers(0, 5)),
    step=st.sampled_from(["spellcheck", "nlp", "ai_feedback"]),
)


@given(st.lists(STATEMENTS, max_size=25))
async def test_running_only_what_is_named_leaves_nothing_undone(statements: list[object]) -> None:
    """Whoever does for the named essays what was asked finds nothing left to do."""
    repository = await knowing(
        update("batch", registration(3, essays=THREE), *statements)  # type: ignore[arg-type] # all are evidence
    )
    pending = await pending_of(repository, "ai_feedback")
    moment = 10
    for step, essays in pending.items():
        assert essays is not None
        moment += 1
        done = [evidence(one, at=minutes(moment), step=step) for one in essays]
        await repository.apply([update("batch", *done)])

    assert await pending_of(repository, "ai_feedback") == {}
