"""The loop and its group: partitions that come and go, polls that are given up, and outages."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from batch_conductor_service.consuming.group_freshness import GroupFreshness
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.operating.progress import ConsumerProgress
from common_core.topics import EventName, topic_name
from service_libs import timing
from service_libs.kafka.condition import ConsumerState
from service_libs.memory.record_source import MemoryRecordSource
from tests.support.builders import spellchecked
from tests.support.clocks import SettableClock
from tests.support.consuming import ControlledRepository
from tests.support.loops import PARTITIONS, PLACE, SPELLCHECK, Bench, running, until

A_FEW = 4
PLACES = [(SPELLCHECK, number) for number in range(PARTITIONS)]


def hanging(bench: Bench) -> ControlledRepository:
    """Return a repository that does not answer yet."""
    repository = ControlledRepository(bench.queue)
    repository.may_answer.clear()
    return repository


async def until_assigned(bench: Bench, sources: int = 1) -> MemoryRecordSource:
    """Return the latest source as soon as it has partitions."""
    await until(lambda: len(bench.sources) >= sources and bench.sources[-1].has_partitions)
    return bench.sources[-1]


class TestRebalances:
    async def test_nothing_is_lost_when_members_join_and_leave(self, bench: Bench) -> None:
        first, second = ControlledRepository(), ControlledRepository()
        names = [f"e{n}" for n in range(100)]

        async def produce_slowly() -> None:
            for name in names:
                bench.produce(spellchecked("b1", name), partition=None)
                await asyncio.sleep(0)

        async def everything_is_applied() -> bool:
            return await first.completed("b1") | await second.completed("b1") == set(names)

        bench.queue.held = 10**9
        async with running(bench.consumer(repository=first)):
            producing = asyncio.create_task(produce_slowly())
            async with running(bench.consumer(repository=second)):
                await until(lambda: bool(second.applied) or producing.done())
            await producing
            await until(everything_is_applied)
            await until(lambda: sum(bench.committed.get(p, 0) for p in PLACES) == len(names))

    async def test_what_is_in_flight_is_drained_before_partitions_are_given_away(
        self, bench: Bench
    ) -> None:
        bench.be_patient()
        bench.produce_essays(1, 3)
        bench.produce_essays(4, 6, partition=1)
        second = ControlledRepository(bench.queue)
        async with running(bench.consumer()):
            await bench.until_applied(6)
            async with running(bench.consumer(repository=second)):
                await until(lambda: bench.sources[0].is_rebalancing)
                bench.queue.hold_all()
                await until(lambda: bench.sources[1].has_partitions)

        assert [bench.committed[place] for place in PLACES] == [3, 3]
        assert second.applied == []
        assert bench.read.count(0) == 2  # of each partition once

    async def test_what_postgres_does_not_hold_in_time_is_read_again_by_the_next(
        self, bench: Bench
    ) -> None:
        bench.produce_essays(1, 3)
        bench.produce_essays(4, 6, partition=1)
        second = ControlledRepository(bench.queue)
        async with running(bench.consumer()):
            await bench.until_applied(6)
            with capture_logs() as logs:
                async with running(bench.consumer(repository=second)):
                    await until(lambda: len(second.applied) >= 3)

        assert "drain_incomplete" in {entry["event"] for entry in logs}
        assert not bench.committed

    async def test_the_poll_in_hand_is_finished_first(self, bench: Bench) -> None:
        bench.be_patient()
        slow, second = hanging(bench), ControlledRepository(bench.queue)
        bench.produce_essays(1, 3)
        bench.produce_essays(4, 6, partition=1)
        async with running(bench.consumer(repository=slow)):
            await until(lambda: slow.calls == 1)
            async with running(bench.consumer(repository=second)):
                await until(lambda: bench.sources[0].is_rebalancing)
                await bench.pass_intervals(1)
                assert not bench.sources[1].has_partitions
                slow.may_answer.set()
                await until(lambda: bool(slow.applied))
                bench.queue.hold_all()
                await until(lambda: bench.sources[1].has_partitions)

        assert [bench.committed[place] for place in PLACES] == [3, 3]
        assert second.applied == []

    async def test_a_poll_that_waits_for_a_store_is_abandoned_and_nothing_of_it_committed(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(timing, "FIRST_DELAY_SECONDS", 60)
        bench.be_patient()
        bench.queue.held = 10**9
        down, second = ControlledRepository(bench.queue), ControlledRepository(bench.queue)
        down.failures = 10**9
        bench.policy = replace(bench.policy, max_backoff_seconds=60)
        bench.produce_essays(1, 3)
        bench.produce_essays(4, 6, partition=1)
        with capture_logs() as logs:
            async with running(bench.consumer(repository=down)):
                await until(lambda: down.calls == 1)
                async with running(bench.consumer(repository=second)):
                    await until(lambda: "poll_abandoned" in {one["event"] for one in logs})
                    await until(lambda: len(second.applied) == 3)

        assert "partitions_given_up_undrained" not in {one["event"] for one in logs}
        assert bench.committed == {(SPELLCHECK, second.applied[0].partition): 3}

    async def test_a_member_that_hangs_does_not_hold_the_group_up(self, bench: Bench) -> None:
        """What it has in hand is dropped and not committed by it: its successor reads it again."""
        hung, healthy = hanging(bench), ControlledRepository(bench.queue)
        bench.queue.held = 10**9
        bench.produce_essays(1, 1)
        bench.produce_essays(2, 2, partition=1)
        with capture_logs() as logs:
            async with running(bench.consumer(repository=hung)):
                await until(lambda: hung.calls == 1)
                async with running(bench.consumer(repository=healthy)):
                    await until(
                        lambda: "partitions_given_up_undrained" in {e["event"] for e in logs}
                    )
                    await until(lambda: bool(healthy.applied))
                    hung.may_answer.set()
                    await until(lambda: all(bench.committed.get(p) == 1 for p in PLACES))

        assert len(hung.applied) + len(healthy.applied) >= 3

    async def test_a_poll_whose_partitions_were_taken_by_force_is_given_up(
        self, bench: Bench
    ) -> None:
        """Or the member would try for ever to apply what is another's, and read nothing else."""
        hung = hanging(bench)
        bench.produce_essays(1, 1)
        with capture_logs() as logs:
            async with running(bench.consumer(repository=hung)):
                await until(lambda: hung.calls == 1)
                async with running(bench.consumer()):
                    await until(lambda: bench.sources[0].has_partitions and _is_shared(bench))
                    hung.failures = 10**9
                    hung.may_answer.set()
                    await until(lambda: "poll_abandoned" in {e["event"] for e in logs})

    async def test_commits_that_are_fenced_are_not_repeated(self, bench: Bench) -> None:
        """Whoever is given the partitions reads on from what was committed before."""
        bench.produce_essays(1, 3)
        bench.policy = replace(bench.policy, session_timeout_seconds=0.06)
        async with running(bench.consumer()):
            source = await until_assigned(bench)
            await bench.until_applied(3)
            with capture_logs() as logs:
                bench.broker.group(bench.policy.group_id).expel(source)
                bench.queue.hold_all()
                await until(lambda: "checkpoint_lost_to_rebalance" in {e["event"] for e in logs})
                assert not bench.committed
                await bench.until_applied(6)  # it has joined again
                bench.queue.hold_all()
                await bench.until_committed(3)

        assert bench.read == [0, 1, 2, 0, 1, 2]

    async def test_records_polled_before_a_rebalance_are_not_applied_after_it(
        self, bench: Bench
    ) -> None:
        bench.queue.held = 10**9
        async with running(bench.consumer()):
            source = await until_assigned(bench)
            poll = source.poll

            async def poll_and_lose() -> object:
                polled = await poll()
                if polled.records:
                    source.poll = poll  # type: ignore[method-assign] # the race, made certain
                    bench.broker.group(bench.policy.group_id).rebalance()
                    await until(lambda: source.assignment > polled.assignment)
                return polled

            source.poll = poll_and_lose  # type: ignore[assignment,method-assign] # as above
            await bench.pass_intervals(A_FEW)
            bench.produce_essays(1, 3)
            await bench.until_committed(3)

        assert Counter(bench.read) == {0: 1, 1: 1, 2: 1}


class TestTheState:
    async def test_it_is_that_of_the_membership(self, bench: Bench) -> None:
        bench.broker.is_available = False
        first, second, third = (bench.consumer() for _ in range(3))

        def states(*consumers: EventConsumer) -> list[ConsumerState]:
            return sorted(one.condition.state for one in consumers)

        bench.broker.logs = {place: bench.broker.logs[place] for place in PLACES}
        async with running(first):
            await bench.pass_intervals(1)
            assert states(first) == [ConsumerState.CONNECTING]
            bench.broker.is_available = True
            await until(lambda: states(first) == [ConsumerState.CONSUMING])
            async with running(second), running(third):
                await until(
                    lambda: (
                        states(first, second, third)
                        == [ConsumerState.CONSUMING] * 2 + [ConsumerState.STANDBY]
                    )
                )
        assert states(first, second, third) == [ConsumerState.STOPPED] * 3

    async def test_one_without_partitions_is_a_fault_only_if_nobody_reads_all(
        self, bench: Bench
    ) -> None:
        bench.broker.logs = {place: bench.broker.logs[place] for place in PLACES[:1]}
        freshness = GroupFreshness(SettableClock(), max_staleness_seconds=30)
        first, second = bench.consumer(), bench.consumer()
        async with running(first), running(second):
            await until(
                lambda: ConsumerState.STANDBY in {first.condition.state, second.condition.state}
            )
            [idle] = [
                one for one in (first, second) if one.condition.state is ConsumerState.STANDBY
            ]
            await until(lambda: idle.condition.age_seconds > 0.02)
            alone = ConsumerProgress(idle, freshness, grace_seconds=0.01)
            others_read = ConsumerProgress(idle, grace_seconds=0.01)

            assert "nobody reads all" in alone.causes[0]
            assert others_read.causes == []

    async def test_a_topic_that_comes_later_is_read(self, bench: Bench) -> None:
        topic = topic_name(EventName.SPELLCHECK_PHASE_COMPLETED)
        for place in PLACES:
            del bench.broker.logs[place]
        async with running(bench.consumer()):
            await until_assigned(bench)
            bench.broker.create_topic(topic, PARTITIONS)
            bench.produce_essays(1, 1)
            await bench.until_applied(1)

        assert len(bench.sources) == 1


class TestOutages:
    async def test_a_broker_that_is_away_is_tried_until_it_is_there(self, bench: Bench) -> None:
        bench.broker.is_available = False
        consumer = bench.consumer()
        bench.produce_essays(1, 1)
        async with running(consumer):
            await until(lambda: len(bench.sources) >= 3)
            assert consumer.condition.trouble == "No Kafka broker can be reached."
            bench.broker.is_available = True
            await bench.until_applied(1)

    async def test_the_tries_are_further_and_further_apart_until_one_succeeds(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.broker.is_available = False
        bench.policy = replace(bench.policy, max_backoff_seconds=60)
        delays: list[float] = []
        consumer = bench.consumer()

        async def note(seconds: float, is_over: Callable[[], bool]) -> None:
            del is_over
            delays.append(seconds)
            bench.broker.is_available = len(delays) >= 5
            await asyncio.sleep(0)

        monkeypatch.setattr(consumer._patience, "sleep", note)
        with capture_logs():
            async with running(consumer):
                bench.produce_essays(1, 1)
                await bench.until_applied(1)
                bench.produce_essays(2, 2)
                bench.broker.damage(PLACE, 1, failures=1, is_final=False)
                await until(lambda: 1 in bench.read)

        for number, delay in enumerate(delays[:5]):
            assert 0.05 <= delay / 2**number <= 0.1  # each is shortened by up to half
        assert delays[5] <= 0.1  # records were read since

    async def test_a_silent_broker_does_not_keep_it_from_stopping(self, bench: Bench) -> None:
        bench.produce_essays(1, 1)
        bench.policy = replace(bench.policy, request_timeout_seconds=60)
        async with running(bench.consumer()):
            await bench.until_applied(1)
            bench.broker.speaks.clear()
            bench.queue.hold_all()
            await bench.pass_intervals(2)
            began = asyncio.get_running_loop().time()

        assert asyncio.get_running_loop().time() - began < 0.5
        assert not bench.committed

    async def test_a_log_that_lost_its_end_is_read_from_its_beginning(self, bench: Bench) -> None:
        bench.produce_essays(1, 3)
        async with running(bench.consumer_without_queue()):
            await bench.until_committed(3)
            bench.broker.truncate(PLACE, 0)
            bench.produce(spellchecked("b1", "new"))
            await bench.until_applied(4)

        assert "new" in await bench.repository.completed("b1")


class TestBeingStuck:
    async def test_a_rebalance_without_end_is_left_with_a_new_source(self, bench: Bench) -> None:
        bench.policy = replace(bench.policy, stuck_timeout_seconds=0.02)
        bench.produce_essays(1, 1)
        async with running(bench.consumer()):
            await until_assigned(bench)
            bench.broker.speaks.clear()
            bench.broker.group(bench.policy.group_id).rebalance()
            await until(lambda: len(bench.sources) >= 2)
            bench.broker.speaks.set()
            await until_assigned(bench, 2)
            await bench.until_applied(1)

    async def test_unread_records_that_do_not_come_are_read_with_a_new_source(
        self, bench: Bench
    ) -> None:
        bench.policy = replace(bench.policy, stuck_timeout_seconds=0.02)
        async with running(bench.consumer()):
            source = await until_assigned(bench)
            bench.produce_essays(1, 1)
            await bench.until_applied(1)
            source.stall()
            bench.produce_essays(2, 2)
            await until(lambda: 1 in bench.read)
            await bench.pass_intervals(A_FEW)

        assert len(bench.sources) >= 2
        assert bench.read[:3] == [0, 0, 1]  # what was in flight is read again

    async def test_a_quiet_consumer_keeps_its_source(self, bench: Bench) -> None:
        bench.policy = replace(bench.policy, stuck_timeout_seconds=0.5)
        consumer = bench.consumer()
        async with running(consumer):
            bench.produce_essays(1, 1)
            await bench.until_applied(1)
            since = consumer.condition.since
            await asyncio.sleep(0.6)
            bench.produce_essays(2, 2)
            await bench.until_applied(2)
            assert consumer.condition.since == since

        assert len(bench.sources) == 1


async def test_a_cancelled_consumer_leaves_nothing_behind(bench: Bench) -> None:
    bench.produce_essays(1, 1)
    run = asyncio.create_task(bench.consumer().run())
    await bench.until_applied(1)

    run.cancel()
    await asyncio.wait({run}, timeout=1)

    assert run.cancelled()
    assert bench.broker.group(bench.policy.group_id).members == []
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


def _is_shared(bench: Bench) -> bool:
    return len(bench.sources) == 2 and bench.sources[1].has_partitions
