"""Where in Kafka something is, and how far a group has come with it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

Partition = tuple[str, int]  # topic, number


class RecordPosition(NamedTuple):
    """Where in Kafka an event was read."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicLook:
    """What the broker's metadata said of the topics that are consumed, when asked at that time.

    Attributes:
        missing: topics that do not exist, and so held nothing.
        refused: topics of which the broker does not name the partitions, with the reason.
    """

    asked_at: datetime
    partitions: frozenset[Partition]
    missing: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLag:
    """How far the group is behind in a partition.

    Attributes:
        records: from the committed offset to the end; markers of transactions count.
        oldest_at: the time of the first record among them; None where it is not known.
    """

    records: int
    oldest_at: datetime | None = None
