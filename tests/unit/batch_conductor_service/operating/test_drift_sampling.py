import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from batch_conductor_service.models import BatchId
from batch_conductor_service.operating.auditing import Auditor, AuditPolicy
from batch_conductor_service.operating.drift_sampling import (
    DriftSampler,
    SamplingPolicy,
)
from tests.support.auditing import Stores, archived, cached
from tests.support.builders import evidence, update
from tests.support.kafka import running, until
from tests.support.pipelines import DEPENDENCIES

A, B, C = map(BatchId, "abc")


class Bench:
    """A sampler over stores in memory, and what it showed."""

    def __init__(
        self, *, interval_seconds: float = 0.01, sample_size: int = 10, max_statements: int = 100
    ) -> None:
        self.stores = Stores()
        self.recent: deque[BatchId] = deque()
        self.shown: list[int] = []
        auditor = Auditor(
            self.stores.cache,
            self.stores.records,
            self.stores,
            DEPENDENCIES,
            AuditPolicy(pause_seconds=0),
        )

        @asynccontextmanager
        async def open_auditor() -> AsyncIterator[Auditor]:
            yield auditor

        self.sampler = DriftSampler(
            open_auditor,
            self.stores,
            self.recent,
            self.shown.append,
            SamplingPolicy(
                interval_seconds=interval_seconds,
                sample_size=sample_size,
                max_statements=max_statements,
            ),
        )


async def test_the_number_of_batches_that_differ_is_shown() -> None:
    bench = Bench()
    bench.stores.redis = {one: cached(update(one, evidence("e1"))) for one in (A, B, C)}
    bench.stores.postgres = {A: archived(update("a", evidence("e1")))}
    bench.recent.extend([A, B, C])

    await bench.sampler.sample()

    assert bench.shown == [2]


async def test_batches_are_audited_one_at_a_time_and_in_another_thread() -> None:
    bench = Bench()
    bench.stores.redis = {one: cached(update(one, evidence("e1"))) for one in (A, B, C)}
    bench.stores.postgres = {one: archived(update(one, evidence("e1"))) for one in (A, B, C)}
    threads: list[int] = []
    bench.stores.on_look = lambda: threads.append(threading.get_ident())
    bench.recent.extend([A, B, C])

    await bench.sampler.sample()

    assert len(threads) == 3
    assert threading.get_ident() not in threads


async def test_a_batch_that_is_too_large_to_be_compared_beside_answers_is_passed_over() -> None:
    bench = Bench(max_statements=1)
    bench.stores.redis = {
        A: cached(update("a", evidence("e1"), evidence("e2"))),
        B: cached(update("b", evidence("e1"))),
    }
    bench.recent.extend([A, B])

    await bench.sampler.sample()

    assert bench.shown == [1]


async def test_a_sample_is_of_the_latest_and_the_next_of_those_before_them() -> None:
    bench = Bench(sample_size=1)
    bench.stores.redis = {A: cached(update("a", evidence("e1")))}
    bench.recent.extend([A, B])

    await bench.sampler.sample()
    await bench.sampler.sample()
    await bench.sampler.sample()

    assert bench.shown == [0, 1, 0]


async def test_while_a_store_is_away_what_was_shown_stands_and_the_sample_is_kept() -> None:
    bench = Bench()
    bench.recent.extend([A])
    bench.stores.is_away = True

    await bench.sampler.sample()

    assert bench.shown == []
    assert list(bench.recent) == [A]


async def test_it_samples_again_and_again_until_it_is_stopped() -> None:
    bench = Bench()

    async with running(bench.sampler):
        await until(lambda: len(bench.shown) > 2)


async def test_stop_does_not_wait_for_the_next_sample() -> None:
    bench = Bench(interval_seconds=3600)

    async with asyncio.timeout(5), running(bench.sampler):
        await asyncio.sleep(0)

    assert bench.shown == []


async def test_a_fault_of_ours_ends_the_run_so_that_it_is_seen() -> None:
    bench = Bench()

    def break_down() -> None:
        raise ValueError("broken")

    bench.stores.on_look = break_down
    bench.recent.extend([A])

    with pytest.raises(ValueError, match="broken"):
        await asyncio.wait_for(bench.sampler.run(), 5)


async def test_a_batch_that_was_written_more_than_once_is_looked_at_once() -> None:
    bench = Bench(sample_size=2)
    bench.stores.redis = {A: cached(update("a", evidence("e1")))}
    bench.recent.extend([C, A, B, B])

    await bench.sampler.sample()

    assert bench.shown == [1]
    assert list(bench.recent) == [C]
