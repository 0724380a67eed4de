import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId, IdleBatch
from batch_conductor_service.operating.retention import Retention
from service_libs.exceptions import StoreUnavailableError
from service_libs.retention import RetentionPolicy
from tests.support.kafka import running, until

LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)


class KeptBatches:
    """Batches in memory, all of them idle, and what is on its way to them; may be away."""

    def __init__(self, *batch_ids: str) -> None:
        self.kept = [BatchId(batch_id) for batch_id in batch_ids]
        self.waiting: set[BatchId] = set()
        self.forgotten: list[BatchId] = []
        self.looks = 0
        self.failures = 0

    async def find(self, days: int, after: IdleBatch | None, count: int) -> Sequence[IdleBatch]:
        self.looks += 1
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError
        ids = [one for one in sorted(self.kept) if after is None or one > after.batch_id]
        return [IdleBatch(one, LONG_AGO) for one in ids[:count] if days]

    async def delete(
        self, batch_id: BatchId, days: int, may_go: Callable[[], Awaitable[bool]]
    ) -> bool:
        if days and await may_go():
            self.kept.remove(batch_id)
            return True
        return False

    async def is_waiting(self, batch_id: BatchId) -> bool:
        return batch_id in self.waiting

    async def forget(self, batch_id: BatchId) -> None:
        self.forgotten.append(batch_id)


def retention(batches: KeptBatches, *, pause_seconds: float = 0) -> Retention:
    policy = RetentionPolicy(
        days=1, interval_seconds=0.01, at_a_time=2, pause_seconds=pause_seconds
    )
    return Retention(policy, batches, batches, Metrics(CollectorRegistry()))


async def test_what_has_to_stay_does_not_keep_the_others() -> None:
    batches = KeptBatches("a", "b", "c", "d", "e")
    batches.waiting = {BatchId("a"), BatchId("b")}

    await retention(batches).sweep()

    assert batches.kept == ["a", "b"]
    assert set(batches.forgotten) == {"c", "d", "e"}


async def test_zero_days_keep_everything() -> None:
    batches = KeptBatches("a")

    await Retention(RetentionPolicy(days=0), batches, batches, Metrics(CollectorRegistry())).sweep()

    assert (batches.kept, batches.looks) == (["a"], 0)


async def test_it_looks_again_and_again_also_after_a_store_was_away() -> None:
    batches = KeptBatches("a")
    batches.failures = 2

    async with running(retention(batches)):
        await until(lambda: not batches.kept and batches.looks > 5)


async def test_stop_ends_it_between_two_batches() -> None:
    batches = KeptBatches("a", "b")
    task = retention(batches, pause_seconds=3600)

    async with asyncio.timeout(5), running(task):
        await until(lambda: batches.kept == ["b"])

    assert batches.kept == ["b"]
