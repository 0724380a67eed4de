"""Up to when what is known covers what Kafka held. Pure; imports only the standard library.

A freshness is a promise: every record that was there at that time is in the answer. So it is the
least of all that it depends on, and whatever is not known makes it unknown.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from common_core.records import Partition, TopicLook

# Two machines' clocks are never quite the same. What is said to be later than this is not believed.
CLOCK_TOLERANCE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFreshness:
    """What the reader of a partition promises.

    Attributes:
        applied_until: every record that the partition held at this time is applied.
        archived_until: and at this time, the archive has it, too.
        queue: names the queue in which the difference waits; None where there is none. With another
            queue in its place the difference may be lost, and the promise with it.
    """

    applied_until: datetime
    archived_until: datetime | None = None
    queue: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPromises:
    """What all replicas promise of their partitions, and in which data it is applied."""

    partitions: Mapping[Partition, PartitionFreshness]
    server_run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """Up to when all that Kafka held is applied, and archived; None where nobody knows.

    `server_run` names the data in which it is applied, where that may be lost.
    """

    applied_until: datetime | None = None
    archived_until: datetime | None = None
    server_run: str | None = None


NOTHING_KNOWN = Freshness()


def join_freshness(
    look: TopicLook | None, promises: Mapping[Partition, PartitionFreshness], now: datetime
) -> Freshness:
    """Return the freshness of all of them: the least over all partitions.

    It is never later than the look: of a topic or a partition that was made since nobody knows.
    """
    if look is None or look.refused:
        return NOTHING_KNOWN
    promised = [promises.get(partition) for partition in look.partitions]
    return Freshness(
        applied_until=_least([one.applied_until if one else None for one in promised], look, now),
        archived_until=_least([one.archived_until if one else None for one in promised], look, now),
    )


def find_behind(
    look: TopicLook, promises: Mapping[Partition, PartitionFreshness], since: datetime
) -> list[Partition]:
    """Return the partitions that nobody is known to have read to the end since that time."""
    return sorted(
        partition
        for partition in look.partitions
        if partition not in promises or promises[partition].applied_until < since
    )


def is_believable(time: datetime, now: datetime) -> bool:
    """Whether the time is not from the future; one that is shows a clock that is wrong or moved."""
    return time <= now + CLOCK_TOLERANCE


def _least(times: Iterable[datetime | None], look: TopicLook, now: datetime) -> datetime | None:
    known = [look.asked_at]
    for time in times:
        if time is None:
            return None
        known.append(time)
    if not all(is_believable(time, now) for time in known):
        return None
    return min(*known, now)
