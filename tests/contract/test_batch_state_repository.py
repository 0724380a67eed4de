"""What every batch state repository promises, whatever keeps the state."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.models import BatchCompletionSummary, BatchId, BatchUpdate, StepName
from batch_conductor_service.protocols import BatchStateRepositoryProtocol
from tests.support.builders import (
    essay_names,
    evidence,
    minutes,
    outcome,
    registration,
    update,
)
from tests.support.histories import histories
from tests.support.pipelines import DEPENDENCIES

SPELLCHECK = StepName("spellcheck")


def new_batch(history: Sequence[BatchUpdate]) -> tuple[BatchState, list[BatchUpdate]]:
    """Return the history for a batch that no other example has, and the model's state of it."""
    batch_id = BatchId(uuid.uuid4().hex)
    model = BatchState(batch_id)
    renamed = [replace(said, batch_id=batch_id) for said in history]
    for said in renamed:
        model.merge(said)
    return model, renamed


async def summary_of(
    repository: BatchStateRepositoryProtocol, batch: str = "batch"
) -> BatchCompletionSummary:
    reading = await repository.get_summary(BatchId(batch))
    assert not reading.is_degraded
    return reading.summary


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories, chunk=st.integers(1, 14), shuffled=st.randoms(use_true_random=False))
async def test_any_history_ends_in_the_state_of_the_model(
    repository: BatchStateRepositoryProtocol,
    history: list[BatchUpdate],
    chunk: int,
    shuffled: Random,
) -> None:
    """Duplicated, reordered and replayed, applied one by one or together."""
    model, said = new_batch(history)
    replayed = [*said, *said]
    shuffled.shuffle(replayed)

    for start in range(0, len(replayed), chunk):
        await repository.apply(replayed[start : start + chunk])

    assert await summary_of(repository, model.batch_id) == model.summarise(DEPENDENCIES)
    assert (await repository.get_state(model.batch_id)).essays() == model.essays()


async def test_an_unknown_batch_is_empty(repository: BatchStateRepositoryProtocol) -> None:
    assert await summary_of(repository) == BatchCompletionSummary(batch_id=BatchId("batch"))
    assert (await repository.get_state(BatchId("batch"))).essays() == []


async def test_a_failed_essay_never_counts_as_completed(
    repository: BatchStateRepositoryProtocol,
) -> None:
    await repository.apply([update("batch", evidence("essay-1"), evidence("essay-2", "failed"))])

    step = (await summary_of(repository)).steps[SPELLCHECK]

    assert (step.completed, step.failed) == (1, 1)


async def test_an_essay_that_fails_later_leaves_the_count(
    repository: BatchStateRepositoryProtocol,
) -> None:
    await repository.apply([update("batch", evidence("essay-1", at=minutes(1)))])
    await repository.apply([update("batch", evidence("essay-1", "failed", minutes(2)))])

    step = (await summary_of(repository)).steps[SPELLCHECK]

    assert (step.completed, step.failed, step.last_observed_at) == (0, 1, minutes(2))


async def test_an_essay_that_nobody_registered_does_not_count(
    repository: BatchStateRepositoryProtocol,
) -> None:
    """Nine of ten and another essay are not ten of ten, whichever was heard of first."""
    nine, ten = essay_names(9), essay_names(10)
    await repository.apply([update("batch", *(evidence(e) for e in (*nine[:5], "other")))])
    await repository.apply([update("batch", registration(10, essays=ten))])
    await repository.apply([update("batch", *(evidence(e) for e in (*nine[5:], "other-2")))])

    summary = await summary_of(repository)

    assert (summary.registered_total, summary.steps[SPELLCHECK].completed) == (10, 9)


async def test_an_essay_that_the_next_registration_leaves_out_does_not_count(
    repository: BatchStateRepositoryProtocol,
) -> None:
    """Nothing was said of it while it counted, and what is said of it now does not count."""
    await repository.apply([update("batch", registration(2, essays=["a", "b"]))])
    await repository.apply([update("batch", registration(2, minutes(1), essays=["b", "c"]))])
    for essay in ("a", "b"):
        await repository.apply([update("batch", evidence(essay, at=minutes(2)))])

    summary = await summary_of(repository)

    assert (summary.registered_total, summary.essays_known) == (2, 1)
    assert summary.steps[SPELLCHECK].completed == 1


async def test_an_outcome_sent_again_later_is_no_newer_evidence(
    repository: BatchStateRepositoryProtocol,
) -> None:
    confirmed = outcome("confirms", minutes(1), fingerprint="one")
    refuted = outcome("refutes", minutes(2), fingerprint="two")
    copy = replace(confirmed, occurred_at=minutes(3))
    for said in (copy, refuted, confirmed, copy):
        await repository.apply([update("batch", said)])

    assert (await summary_of(repository)).steps[SPELLCHECK].outcome == refuted


async def test_updates_of_one_batch_in_one_call_are_all_applied(
    repository: BatchStateRepositoryProtocol,
) -> None:
    await repository.apply([update("batch", evidence(essay)) for essay in essay_names(5)])

    assert (await summary_of(repository)).steps[SPELLCHECK].completed == 5


async def test_batches_do_not_meet(repository: BatchStateRepositoryProtocol) -> None:
    batches = [f"batch-{number}" for number in range(70)]
    await repository.apply([update(batch, evidence("essay-1")) for batch in batches])

    for batch in batches:
        assert (await summary_of(repository, batch)).steps[SPELLCHECK].completed == 1


async def test_every_update_has_its_receipt(repository: BatchStateRepositoryProtocol) -> None:
    """One for each, in order; those of a queue are distinct."""
    said = [update(f"batch-{number}", evidence("essay-1")) for number in range(40)]

    receipts = await repository.apply([*said, said[0]])

    queued = [receipt for receipt in receipts if receipt is not None]
    assert len(receipts) == 41
    assert len(set(queued)) == len(queued) in {0, 41}
