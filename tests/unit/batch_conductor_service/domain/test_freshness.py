from datetime import datetime, timedelta

import pytest

from batch_conductor_service.domain.freshness import (
    NOTHING_KNOWN,
    PartitionFreshness,
    find_behind,
    join_freshness,
)
from common_core.records import Partition, TopicLook
from tests.support.builders import NOON

ONE, OTHER = ("one", 0), ("other", 1)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def look(*partitions: Partition, asked: float = 0, missing: str | None = None) -> TopicLook:
    return TopicLook(
        asked_at=at(asked),
        partitions=frozenset(partitions),
        missing=frozenset({missing} if missing else ()),
    )


def promise(applied: float, archived: float | None = None) -> PartitionFreshness:
    return PartitionFreshness(
        applied_until=at(applied), archived_until=None if archived is None else at(archived)
    )


def test_the_least_of_all_partitions_counts() -> None:
    joined = join_freshness(look(ONE, OTHER), {ONE: promise(-1, -7), OTHER: promise(-5, -6)}, NOON)

    assert joined.applied_until == at(-5)
    assert joined.archived_until == at(-7)


def test_a_partition_that_nobody_reads_makes_it_unknown() -> None:
    assert join_freshness(look(ONE, OTHER), {ONE: promise(-1, -1)}, NOON) == NOTHING_KNOWN


def test_a_partition_that_is_not_archived_makes_only_the_archive_unknown() -> None:
    joined = join_freshness(look(ONE, OTHER), {ONE: promise(-1, -1), OTHER: promise(-2)}, NOON)

    assert joined.applied_until == at(-2)
    assert joined.archived_until is None


def test_a_promise_of_what_is_not_consumed_does_not_count() -> None:
    joined = join_freshness(look(ONE), {ONE: promise(-1), OTHER: promise(-100)}, NOON)

    assert joined.applied_until == at(-1)


def test_a_topic_that_does_not_exist_holds_nothing_as_of_the_last_look() -> None:
    joined = join_freshness(look(ONE, asked=-8, missing="other"), {ONE: promise(-1)}, NOON)

    assert joined.applied_until == at(-8)


def test_without_any_topic_it_is_known_that_there_is_nothing() -> None:
    assert join_freshness(look(asked=-3, missing="one"), {}, NOON).applied_until == at(-3)


def test_without_a_look_nothing_is_known() -> None:
    assert join_freshness(None, {ONE: promise(-1)}, NOON) == NOTHING_KNOWN


def test_a_topic_that_may_not_be_seen_makes_it_unknown() -> None:
    refused = TopicLook(asked_at=NOON, partitions=frozenset({ONE}), refused={"other": "No right."})

    assert join_freshness(refused, {ONE: promise(-1)}, NOON) == NOTHING_KNOWN


@pytest.mark.parametrize(("ahead", "known"), [(0.9, at(0)), (1.1, None)])
def test_a_promise_from_the_future_is_not_believed(ahead: float, known: datetime | None) -> None:
    """A second is how far two machines' clocks may differ; it is never later than now."""
    assert join_freshness(look(ONE), {ONE: promise(ahead)}, NOON).applied_until == known


def test_a_look_from_the_future_is_not_believed() -> None:
    """The clock was put back since."""
    assert join_freshness(look(ONE, asked=3600), {ONE: promise(-1)}, NOON) == NOTHING_KNOWN


def test_the_partitions_that_are_behind_are_named() -> None:
    told = {ONE: promise(-40)}

    assert find_behind(look(ONE, OTHER), told, at(-30)) == [ONE, OTHER]
    assert find_behind(look(ONE), told, at(-50)) == []
