"""What was written while Postgres was not in use is queued for it, once it is."""

import asyncio
from collections.abc import Sequence

import pytest

from batch_conductor_service.models import BatchId, BatchUpdate
from batch_conductor_service.persisting import archiving
from batch_conductor_service.persisting.archiving import UnarchivedSweeper
from service_libs.exceptions import StoreUnavailableError
from tests.support.auditing import Stores
from tests.support.consuming import ControlledRepository
from tests.support.kafka import running, until


class UnarchivedBatches:
    """`UnarchivedBatchesProtocol`, in memory; away for the next so many looks."""

    def __init__(self, *batches: str) -> None:
        self.left = list(map(BatchId, batches))
        self.sizes: list[int] = []
        self.looks = 0
        self.failures = 0

    async def find(self, count: int) -> Sequence[BatchId]:
        self.looks += 1
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError
        self.sizes.append(len(self.left[:count]))
        return self.left[:count]

    async def forget(self, batch_ids: Sequence[BatchId]) -> None:
        self.left = [one for one in self.left if one not in batch_ids]


async def test_every_batch_is_written_once_more_a_few_at_a_time() -> None:
    """Writing a batch merges it with the archive and queues all that it has."""
    unarchived, stores = UnarchivedBatches(*(f"batch-{n:03}" for n in range(250))), Stores()

    await UnarchivedSweeper(unarchived, stores).sweep()

    assert unarchived.left == []
    assert unarchived.sizes == [100, 100, 50, 0]
    assert stores.queued == [BatchUpdate(batch_id=BatchId(f"batch-{n:03}")) for n in range(250)]


async def test_a_batch_that_could_not_be_written_is_not_forgotten() -> None:
    unarchived, repository = UnarchivedBatches("a"), ControlledRepository()
    repository.failures = 1
    sweeper = UnarchivedSweeper(unarchived, repository)

    with pytest.raises(StoreUnavailableError):
        await sweeper.sweep()
    assert unarchived.left == ["a"]

    await sweeper.sweep()
    assert unarchived.left == []


async def test_it_sweeps_again_and_again_whatever_became_of_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archiving, "SWEEP_SECONDS", 0.01)
    unarchived, stores = UnarchivedBatches("a"), Stores()
    unarchived.failures = 2

    async with running(UnarchivedSweeper(unarchived, stores)):
        await until(lambda: not unarchived.left)
        unarchived.left = [BatchId("b")]
        await until(lambda: not unarchived.left)

    assert [one.batch_id for one in stores.queued] == ["a", "b"]


async def test_stop_does_not_wait_for_the_next_sweep() -> None:
    unarchived = UnarchivedBatches()

    async with asyncio.timeout(5), running(UnarchivedSweeper(unarchived, Stores())):
        await until(lambda: unarchived.looks == 1)
