"""Where in Kafka something is. Pure."""

from dataclasses import dataclass

Partition = tuple[str, int]  # topic, number


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPosition:
    """Where in Kafka an event was read."""

    topic: str
    partition: int
    offset: int
