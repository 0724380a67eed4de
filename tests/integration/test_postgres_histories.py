"""Postgres against the model, over random histories with duplicates, reorderings and replays."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.config import Settings
from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.postgres.tables import DATABASE
from batch_conductor_service.models import (
    BatchId,
    BatchUpdate,
    OutcomeVerdict,
    ProcessingStepStatus,
)
from tests.support.builders import evidence, minutes, outcome, registration, update
from tests.support.histories import histories
from tests.support.pipeline_state import recounted_rows, summarised_rows
from tests.support.pipelines import DEPENDENCIES

EXAMPLES = 80


TWO_TIMES = st.sampled_from([minutes(0), minutes(1)])
STATUSES = list(ProcessingStepStatus)

# One essay, two times: nearly every statement meets another one of its time.
collisions = st.lists(
    st.one_of(
        st.builds(
            evidence,
            st.just("essay-1"),
            st.sampled_from(STATUSES),
            TWO_TIMES,
            storage_id=st.sampled_from([None, "Z", "a", "\u00c4", "\uffff", "\U00010000"]),
        ),
        st.sampled_from(STATUSES).flatmap(
            lambda status: st.builds(
                evidence, st.just("essay-1"), st.just(status), TWO_TIMES, source=st.just(status)
            )
        ),
        st.builds(registration, st.integers(0, 3), TWO_TIMES),
        st.builds(outcome, st.sampled_from(OutcomeVerdict), TWO_TIMES, total=st.integers(0, 2)),
    ).map(lambda item: update("batch", item)),
    max_size=10,
)


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[BatchUpdate]]:
    """A history of two batches, again in another order in part, cut into calls of `apply`."""
    all_told = [
        replace(told, batch_id=BatchId(name))
        for name, history in (("varied", histories), ("colliding", collisions))
        for told in draw(history)
    ]
    again = draw(st.lists(st.sampled_from(all_told))) if all_told else []
    delivered = draw(st.permutations([*all_told, *again]))
    size = draw(st.integers(1, 5))
    return [delivered[start : start + size] for start in range(0, len(delivered), size)]


def contents(state: BatchState) -> tuple[frozenset[object], ...]:
    """Return all that is held of a batch, without its order."""
    held = state.as_update()
    return tuple(map(frozenset, (held.evidence, held.outcomes, held.registrations)))


async def compare(engine: AsyncEngine, calls: Sequence[Sequence[BatchUpdate]]) -> None:
    repository = PostgresBatchStateRepository(engine, DEPENDENCIES)
    model: dict[BatchId, BatchState] = {}
    for updates in calls:
        await repository.apply(updates)
        for told in updates:
            model.setdefault(told.batch_id, BatchState(told.batch_id)).merge(told)

    loaded = await repository.load_states(list(model))

    assert loaded.keys() == model.keys()
    for batch_id, state in model.items():
        assert contents(loaded[batch_id]) == contents(state)
        assert (await repository.get_summary(batch_id)).summary == state.summarise(DEPENDENCIES)
        assert (await repository.get_state(batch_id)).essays() == state.essays()
        assert await recounted_rows(engine, batch_id) == summarised_rows(state)


def test_any_history_ends_in_the_state_of_the_model(migrated_database_url: str) -> None:
    numbers = count()  # examples share the database, so each has batches of its own

    @settings(max_examples=EXAMPLES)
    @given(deliveries())
    def check(calls: list[list[BatchUpdate]]) -> None:
        number = next(numbers)
        renamed = [
            [replace(u, batch_id=BatchId(f"{u.batch_id}-{number}")) for u in updates]
            for updates in calls
        ]
        runner.run(compare(engine, renamed))

    with asyncio.Runner() as runner:
        engine = DATABASE.engine(Settings(database_url=SecretStr(migrated_database_url)))
        check()
        runner.run(engine.dispose())
