"""What a running consumer does when it is asked to read partitions again."""

from tests.support.loops import PLACE, SPELLCHECK, Bench, running, until

OTHER = (SPELLCHECK, 1)


async def commit_ten(bench: Bench) -> None:
    """Produce ten, and return when they are committed."""
    bench.produce_essays(1, 10)
    await bench.until_applied(10)
    bench.queue.hold_all()
    await bench.until_committed(10)


async def test_a_running_consumer_rewinds_when_it_is_asked_and_only_once(bench: Bench) -> None:
    async with running(bench.consumer()):
        await commit_ten(bench)
        await bench.requests.submit({PLACE: 4})
        await bench.until_applied(16)
        bench.queue.hold_all()
        await bench.until_committed(10)
        await bench.pass_intervals(3)

    assert not bench.requests.waiting
    assert bench.read == [*range(10), *range(4, 10)]


async def test_the_earlier_offset_is_committed_so_that_a_crash_continues_the_replay(
    bench: Bench,
) -> None:
    async with running(bench.consumer()):
        await commit_ten(bench)
        await bench.requests.submit({PLACE: 4})
        await until(lambda: not bench.requests.waiting)

        assert bench.committed[PLACE] == 4

    before = len(bench.read)
    async with running(bench.consumer()):
        await bench.until_applied(before + 6)
        bench.queue.hold_all()
        await bench.until_committed(10)

    assert bench.read[before:] == [*range(4, 10)]


async def test_what_was_in_flight_is_not_lost_by_a_rewind(bench: Bench) -> None:
    async with running(bench.consumer()):
        await commit_ten(bench)
        bench.produce_essays(11, 15)
        await bench.until_applied(15)

        await bench.requests.submit({PLACE: 4})
        await bench.until_applied(26)
        assert bench.committed[PLACE] == 4
        bench.queue.hold_all()
        await bench.until_committed(15)

    assert bench.read == [*range(15), *range(4, 15)]


async def test_a_request_never_moves_the_group_forward(bench: Bench) -> None:
    async with running(bench.consumer()):
        await commit_ten(bench)
        bench.produce_essays(11, 15)
        await bench.until_applied(15)

        await bench.requests.submit({PLACE: 14, OTHER: 3})
        await until(lambda: not bench.requests.waiting)

        assert bench.committed[PLACE] == 10
        assert OTHER not in bench.committed
        await bench.until_applied(20)
        bench.queue.hold_all()
        await bench.until_committed(15)

    assert set(bench.read) == set(range(15))


async def test_a_request_that_could_not_be_settled_is_not_carried_out_twice(bench: Bench) -> None:
    async with running(bench.consumer()):
        await commit_ten(bench)
        bench.requests.failures = 3
        await bench.requests.submit({PLACE: 4})
        await until(lambda: not bench.requests.waiting)
        await bench.until_applied(16)
        bench.queue.hold_all()
        await bench.until_committed(10)

    assert bench.read == [*range(10), *range(4, 10)]


async def test_a_partition_that_is_not_assigned_waits_for_its_owner(bench: Bench) -> None:
    elsewhere = ("nobody.reads.this", 0)
    async with running(bench.consumer()):
        await commit_ten(bench)
        await bench.requests.submit({elsewhere: 0, PLACE: 4})
        await until(lambda: bench.requests.waiting == {elsewhere})


async def test_a_broker_that_does_not_answer_leaves_the_request_for_later(bench: Bench) -> None:
    async with running(bench.consumer()):
        await commit_ten(bench)
        bench.broker.is_available = False
        await bench.requests.submit({PLACE: 4})
        await bench.pass_intervals(3)
        assert bench.requests.waiting == {PLACE}
        assert bench.committed[PLACE] == 10

        bench.broker.is_available = True
        await bench.until_applied(16)
        assert bench.committed[PLACE] == 4
