import asyncio
from datetime import UTC, datetime
from random import Random

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.implementations.postgres import batch_state
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.models import (
    BatchId,
    BatchRegistration,
    BatchUpdate,
    EssayEvidence,
    PhaseOutcome,
    StepCompletionSummary,
    StepName,
)
from service_libs.exceptions import RefusedUpdateError
from tests.support.builders import (
    essay_names,
    evidence,
    minutes,
    outcome,
    registration,
    update,
)
from tests.support.database import open_engine
from tests.support.pipeline_state import recounted_rows
from tests.support.pipelines import DEPENDENCIES

BATCH = BatchId("batch")
COUNT_ROWS = text("""
    SELECT (SELECT count(*) FROM essay_step_evidence)
        + (SELECT count(*) FROM phase_outcomes)
        + (SELECT count(*) FROM batch_registrations)
        + (SELECT count(*) FROM processing_pipeline_state)
""")
REFUSED: dict[str, EssayEvidence | PhaseOutcome | BatchRegistration] = {
    "NUL in a storage id": evidence("essay-2", storage_id="a\0b"),
    "lone surrogate in a storage id": evidence("essay-2", storage_id="\ud800"),
    "NUL in an essay id of a registration": registration(1, essays=["a\0b"], fingerprint="f"),
    "lone surrogate in one": registration(1, essays=["\ud800"], fingerprint="f"),
    "total below zero": outcome(total=-1),
    "total beyond an integer": outcome(total=2**40),
    "time before the first": evidence("essay-2", at=datetime.fromisoformat("0001-01-01T00:00+03")),
    "key too long for its index": evidence("".join(Random(1).choices("abcdefghij", k=20_000))),
}


@pytest.fixture
def repository(migrated_engine: AsyncEngine) -> PostgresBatchStateRepository:
    return PostgresBatchStateRepository(migrated_engine, DEPENDENCIES)


def merged(*updates: BatchUpdate) -> BatchState:
    """Return the model's state of one batch after the updates."""
    state = BatchState(updates[0].batch_id)
    for each in updates:
        state.merge(each)
    return state


async def row_versions(engine: AsyncEngine) -> list[tuple[object, ...]]:
    """Return the transaction that wrote each row last."""
    async with engine.connect() as connection:
        found = await connection.execute(
            text("""
                SELECT 'evidence', CAST(xmin AS text) FROM essay_step_evidence
                UNION ALL SELECT 'outcome', CAST(xmin AS text) FROM phase_outcomes
                UNION ALL SELECT 'registration', CAST(xmin AS text) FROM batch_registrations
                UNION ALL SELECT 'state', CAST(xmin AS text) FROM processing_pipeline_state
            """)
        )
        return sorted(map(tuple, found))


async def test_each_update_is_as_durable_as_it_gets(
    repository: PostgresBatchStateRepository,
) -> None:
    ids = await repository.apply([update(BATCH, evidence("essay-1")), update("other")])

    assert ids == [None, None]


async def test_nothing_to_apply_needs_no_database() -> None:
    async with open_engine("postgresql://nobody@localhost:1/none") as engine:
        assert await PostgresBatchStateRepository(engine, DEPENDENCIES).apply([]) == []


async def test_batches_that_nobody_has_heard_of_are_not_loaded(
    repository: PostgresBatchStateRepository,
) -> None:
    await repository.apply([update("one", outcome()), update("two", registration(3))])

    loaded = await repository.load_states([BatchId(name) for name in ("one", "two", "three")])

    assert sorted(loaded) == ["one", "two"]


async def test_a_batch_is_read_as_of_one_moment(repository: PostgresBatchStateRepository) -> None:
    """Evidence without the outcome that came with it, or the reverse, could hide a failure."""
    essays = essay_names(50)

    async def fail_and_confirm_again(round_: int) -> None:
        items = [evidence(e, "failed", minutes(round_)) for e in essays]
        told = outcome(at=minutes(round_), fingerprint=f"round-{round_}")
        await repository.apply([update(BATCH, *items, told)])

    async def read_until(writer: asyncio.Future[list[None]]) -> list[StepCompletionSummary]:
        seen = []
        while not writer.done():
            summary = (await repository.get_summary(BATCH)).summary
            seen.append(summary.steps[StepName("spellcheck")])
        return seen

    await fail_and_confirm_again(0)
    writer = asyncio.gather(*(fail_and_confirm_again(number) for number in range(1, 20)))
    seen = await read_until(writer)
    await writer

    assert all(s.outcome and s.outcome.occurred_at == s.last_observed_at for s in seen)


@pytest.mark.parametrize("fault", REFUSED)
async def test_an_update_that_can_never_be_stored_is_refused_and_nothing_of_the_call_is_stored(
    repository: PostgresBatchStateRepository, migrated_engine: AsyncEngine, fault: str
) -> None:
    good = update(BATCH, evidence("essay-1"), outcome(), registration(1))

    with pytest.raises(RefusedUpdateError) as caught:
        await repository.apply([good, update("other", REFUSED[fault])])

    async with migrated_engine.connect() as connection:
        assert await connection.scalar(COUNT_ROWS) == 0
    assert str(caught.value) == RefusedUpdateError.__doc__


async def test_the_good_updates_are_stored_after_a_refusal(
    repository: PostgresBatchStateRepository,
) -> None:
    with pytest.raises(RefusedUpdateError):
        await repository.apply([update(BATCH, evidence("essay-1", storage_id="\0"))])

    await repository.apply([update(BATCH, evidence("essay-1"))])

    assert len((await repository.get_state(BATCH)).essays()) == 1


@pytest.mark.parametrize("at", [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)])
async def test_the_first_and_the_last_time_keep_their_zone(
    repository: PostgresBatchStateRepository, at: datetime
) -> None:
    told = [update(BATCH, evidence("essay-1", at=at), outcome(at=at), registration(1, at))]

    await repository.apply(told)

    assert (await repository.get_summary(BATCH)).summary == merged(*told).summarise(DEPENDENCIES)


async def test_workers_with_one_batch_count_each_others_rows(
    repository: PostgresBatchStateRepository, migrated_engine: AsyncEngine
) -> None:
    for number in range(10):
        batch = BatchId(f"batch-{number}")

        await asyncio.gather(
            *(repository.apply([update(batch, evidence(essay))]) for essay in essay_names(4))
        )

        counted = (await recounted_rows(migrated_engine, batch))["spellcheck"]
        assert counted == (4, 0, None, minutes(0))


async def test_workers_with_many_batches_in_any_order_do_not_deadlock(
    repository: PostgresBatchStateRepository, migrated_engine: AsyncEngine
) -> None:
    told = [
        update(f"batch-{number}", evidence(essay, status, minutes(time)))
        for number in range(6)
        for essay in essay_names(30)
        for time, status in enumerate(("failed", "completed"))
    ]

    async def work(seed: int) -> None:
        mine = Random(seed).sample(told, len(told))
        for start in range(0, len(mine), 60):
            await repository.apply(mine[start : start + 60])

    await asyncio.gather(*(work(seed) for seed in range(4)))

    for number in range(6):
        counted = (await recounted_rows(migrated_engine, f"batch-{number}"))["spellcheck"]
        assert counted == (30, 0, None, minutes(1))


async def test_any_number_of_rows_and_batches_is_taken_in_bounded_statements(
    repository: PostgresBatchStateRepository,
    migrated_engine: AsyncEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_state, "ROWS_PER_STATEMENT", 7)
    monkeypatch.setattr(batch_state, "BATCHES_PER_RECOUNT", 2)
    batches = [BatchId(f"batch-{number}") for number in range(5)]

    await repository.apply([update(b, *map(evidence, essay_names(4))) for b in batches])

    for batch in batches:
        rows_ = await recounted_rows(migrated_engine, batch)
        assert rows_["spellcheck"] == (4, 0, None, minutes(0))


async def test_a_replay_leaves_every_row_as_it_was(
    repository: PostgresBatchStateRepository, migrated_engine: AsyncEngine
) -> None:
    told = [update(BATCH, evidence("essay-1"), outcome(), registration(1, essays=["essay-1"]))]
    await repository.apply(told)
    before = await row_versions(migrated_engine)

    await repository.apply(told)

    assert await row_versions(migrated_engine) == before
