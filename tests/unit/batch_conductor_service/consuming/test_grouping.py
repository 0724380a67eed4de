"""What the records of one poll say about each batch, as one update."""

from batch_conductor_service.consuming.phase_tracking import group_by_batch, to_update
from batch_conductor_service.models import BatchUpdate
from common_core.records import RecordPosition
from tests.support.builders import (
    RecordedEvent,
    evidence,
    minutes,
    outcome,
    registration,
    spellchecked,
    update,
)
from tests.support.decoding import decode_event


def project(event: RecordedEvent) -> BatchUpdate:
    position = RecordPosition(topic=event.topic, partition=3, offset=7)
    return to_update(decode_event(event.topic, event.value), position)


class TestGrouping:
    def test_there_is_one_update_a_batch_in_order_of_first_appearance(self) -> None:
        updates = [
            update("b", evidence("x"), position=("t", 0, 1)),
            update("a", evidence("x"), position=("t", 0, 2)),
            update("b", registration(2), outcome(), position=("u", 1, 9)),
        ]

        assert list(group_by_batch(updates)) == [
            BatchUpdate(
                batch_id=updates[0].batch_id,
                evidence=updates[0].evidence,
                outcomes=updates[2].outcomes,
                registrations=updates[2].registrations,
                positions=updates[0].positions + updates[2].positions,
            ),
            updates[1],
        ]

    def test_of_two_statements_about_one_essay_the_one_that_holds_is_kept(self) -> None:
        old, new = evidence("x", "failed", minutes(1)), evidence("x", "completed", minutes(2))

        (grouped,) = list(group_by_batch([update("a", new), update("a", old)]))

        assert grouped.evidence == (new,)

    def test_a_repeated_record_keeps_both_positions(self) -> None:
        event = spellchecked("batch", "essay")

        (grouped,) = list(group_by_batch([project(event), project(event)]))

        assert len(grouped.evidence) == 1
        assert len(grouped.positions) == 2

    def test_nothing_is_grouped_into_nothing(self) -> None:
        assert list(group_by_batch([])) == []
