"""The regular look at what Postgres holds: back-pressure, and what the log has no more."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from batch_conductor_service.consuming import checkpoints
from service_libs.kafka.condition import ConsumerState
from tests.support.loops import PLACE, SPELLCHECK, Bench, running, until

A_FEW = 4
DELETED = "bcs_kafka_uncommitted_records_deleted_total"


class TestBackPressure:
    @pytest.mark.parametrize("measure", ["extra_depth", "size_bytes"])
    async def test_a_full_queue_pauses_consumption_until_half_of_it_is_persisted(
        self, bench: Bench, measure: str
    ) -> None:
        bench.policy = replace(bench.policy, queue_high_water=100, queue_high_water_bytes=100)
        setattr(bench.queue, measure, 101)
        consumer = bench.consumer()
        async with running(consumer):
            await until(lambda: consumer.condition.state is ConsumerState.PAUSED)
            bench.produce_essays(1, 10)
            setattr(bench.queue, measure, 60)
            await bench.pass_intervals(A_FEW)
            assert bench.repository.applied == []

            setattr(bench.queue, measure, 10)
            await bench.until_applied(10)
            assert consumer.condition.state is ConsumerState.CONSUMING

    async def test_partitions_that_a_rebalance_brings_are_paused_too(self, bench: Bench) -> None:
        bench.policy = replace(bench.policy, queue_high_water=100)
        bench.queue.extra_depth = 101
        consumer = bench.consumer()
        async with running(consumer):
            await until(lambda: bool(bench.sources) and bench.sources[0].is_paused)
            await bench.rebalance()
            await until(lambda: bench.sources[0].is_paused)
            assert consumer.condition.state is ConsumerState.PAUSED

    async def test_a_paused_consumer_is_not_stuck(self, bench: Bench) -> None:
        bench.policy = replace(bench.policy, queue_high_water=100, stuck_timeout_seconds=0.5)
        bench.queue.extra_depth = 101
        async with running(bench.consumer()):
            await until(lambda: bool(bench.sources) and bench.sources[0].is_paused)
            bench.produce_essays(1, 1)
            await asyncio.sleep(0.6)

        assert len(bench.sources) == 1


class TestDeletedRecords:
    async def test_a_gap_behind_what_is_committed_is_reported_once(self, bench: Bench) -> None:
        await self._commit_three(bench)
        bench.produce_essays(4, 10)
        bench.broker.delete_before(PLACE, 8)

        with capture_logs() as logs:
            for _ in range(2):
                async with running(bench.consumer()):
                    await until(lambda: bool(bench.sources[-1].has_partitions))
                    await bench.until_applied(3 + 2)

        [report, *_] = [one for one in logs if one["event"] == "uncommitted_records_deleted"]
        assert (report["topic"], report["partition"]) == PLACE
        assert (report["first_offset"], report["records"]) == (3, 5)
        assert bench.read[:5] == [0, 1, 2, 8, 9]

    async def test_it_is_counted_once_however_often_the_group_is_shared_out(
        self, bench: Bench
    ) -> None:
        await self._commit_three(bench)
        bench.produce_essays(4, 10)
        bench.broker.delete_before(PLACE, 8)

        async with running(bench.consumer()):
            for _ in range(2):
                await until(lambda: bench.count(DELETED, topic=SPELLCHECK, partition="0") == 5)
                await bench.rebalance()
            await bench.pass_intervals(2)

        assert bench.count(DELETED, topic=SPELLCHECK, partition="0") == 5

    async def test_nothing_is_reported_of_records_that_were_committed(self, bench: Bench) -> None:
        await self._commit_three(bench)
        bench.broker.delete_before(PLACE, 3)

        async with running(bench.consumer()):
            await until(lambda: bench.sources[-1].has_partitions)
            await bench.pass_intervals(2)

        assert bench.count(DELETED, topic=SPELLCHECK, partition="0") == 0

    async def test_what_was_deleted_during_a_pause_is_reported(self, bench: Bench) -> None:
        bench.policy = replace(bench.policy, queue_high_water=100)
        bench.queue.extra_depth = 101
        consumer = bench.consumer()
        async with running(consumer):
            await until(lambda: consumer.condition.state is ConsumerState.PAUSED)
            bench.produce_essays(1, 10)
            bench.broker.delete_before(PLACE, 4)
            bench.queue.extra_depth = 0
            await bench.until_applied(6)

        assert bench.count(DELETED, topic=SPELLCHECK, partition="0") == 4

    async def test_a_look_that_is_not_answered_is_repeated(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checkpoints, "RETRY_SECONDS", 0.01)
        await self._commit_three(bench)
        async with running(bench.consumer()):
            await until(lambda: bench.sources[-1].has_partitions)
            bench.broker.is_available = False
            bench.produce_essays(4, 10)
            bench.broker.delete_before(PLACE, 8)
            with capture_logs() as logs:
                await bench.rebalance()
                await until(lambda: "retention_not_checked" in {one["event"] for one in logs})
            bench.broker.is_available = True
            await until(lambda: bench.count(DELETED, topic=SPELLCHECK, partition="0") == 5)

        assert bench.read == [0, 1, 2, 8, 9]

    async def test_a_look_that_is_not_answered_is_not_repeated_at_once(self, bench: Bench) -> None:
        bench.produce_essays(1, 3)
        async with running(bench.consumer()):
            await bench.until_applied(3)
            bench.broker.is_available = False
            with capture_logs() as logs:
                await bench.rebalance()
                await until(lambda: bench.sources[-1].has_partitions)
                await bench.pass_intervals(5)

        assert [one["event"] for one in logs].count("retention_not_checked") == 1

    @staticmethod
    async def _commit_three(bench: Bench) -> None:
        bench.produce_essays(1, 3)
        async with running(bench.consumer()):
            await bench.until_applied(3)
            bench.queue.hold_all()
            await bench.until_committed(3)
