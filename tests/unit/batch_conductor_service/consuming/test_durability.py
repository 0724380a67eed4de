import pytest

from batch_conductor_service.consuming.durability import DurabilityTracker, QueueReplacedError
from batch_conductor_service.domain.freshness import PartitionFreshness
from common_core.records import RecordPosition
from service_libs.exceptions import StoreUnavailableError
from tests.support.builders import NOON, minutes
from tests.support.consuming import ControlledQueue

PARTITION = ("topic", 0)


def at(offset: int) -> RecordPosition:
    """Return a position."""
    return RecordPosition(topic="topic", partition=0, offset=offset)


async def test_without_a_queue_an_entry_id_does_not_hold_a_record_back() -> None:
    tracker = DurabilityTracker(None)
    await tracker.prepare()
    tracker.add(at(0), "1-0")

    assert await tracker.find_commit_points() == {PARTITION: 1}
    assert (await tracker.measure_waiting())[0] == 1


async def test_a_queue_replaced_before_anything_was_applied_is_no_loss() -> None:
    queue = ControlledQueue()
    tracker = DurabilityTracker(queue)
    await tracker.prepare()
    queue.replace()

    assert await tracker.find_commit_points() == {}
    tracker.add(at(0), queue.enqueue())
    queue.hold_all()
    assert await tracker.find_commit_points() == {PARTITION: 1}


async def test_ids_of_a_replaced_queue_prove_nothing_even_if_they_look_held() -> None:
    queue = ControlledQueue()
    tracker = DurabilityTracker(queue)
    await tracker.prepare()
    tracker.add(at(3), queue.enqueue())
    queue.replace()
    queue.held = 100

    with pytest.raises(QueueReplacedError) as raised:
        await tracker.find_commit_points()

    assert raised.value.replay_from == {PARTITION: 3}
    assert not tracker.in_flight


async def test_what_waits_is_counted_here_or_in_the_queue_whichever_is_more() -> None:
    queue = ControlledQueue()
    tracker = DurabilityTracker(queue)
    tracker.add(at(0), queue.enqueue())
    tracker.add(at(1), queue.enqueue())
    queue.hold_all()
    assert (await tracker.measure_waiting())[0] == 2

    queue.extra_depth, queue.size_bytes = 5, 700
    assert await tracker.measure_waiting() == (5, 700)


async def test_an_unreadable_queue_is_for_the_caller_to_wait_for() -> None:
    queue = ControlledQueue()
    queue.failures = 1
    tracker = DurabilityTracker(queue)

    with pytest.raises(StoreUnavailableError):
        await tracker.prepare()
    await tracker.prepare()


class TestPromises:
    """Of a partition whose records up to some time are applied, what Postgres has of them."""

    async def test_with_nothing_in_flight_postgres_has_all_of_it(self) -> None:
        tracker = DurabilityTracker(ControlledQueue())
        await tracker.prepare()

        assert tracker.promise({PARTITION: NOON}) == {
            PARTITION: PartitionFreshness(applied_until=NOON, archived_until=NOON)
        }

    async def test_what_is_in_flight_is_promised_only_with_its_queue(self) -> None:
        queue = ControlledQueue()
        tracker = DurabilityTracker(queue)
        await tracker.prepare()
        tracker.add(at(0), queue.enqueue())

        assert tracker.promise({PARTITION: NOON, ("topic", 1): NOON}) == {
            PARTITION: PartitionFreshness(applied_until=NOON, queue="first"),
            ("topic", 1): PartitionFreshness(applied_until=NOON, archived_until=NOON),
        }

    async def test_what_postgres_had_before_it_keeps(self) -> None:
        queue = ControlledQueue()
        tracker = DurabilityTracker(queue)
        await tracker.prepare()
        tracker.promise({PARTITION: NOON})
        tracker.add(at(0), queue.enqueue())

        assert tracker.promise({PARTITION: minutes(1)}) == {
            PARTITION: PartitionFreshness(
                applied_until=minutes(1), archived_until=NOON, queue="first"
            )
        }
