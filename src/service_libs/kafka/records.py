"""What is read from Kafka, whatever reads it. Knows no driver."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from service_libs.exceptions import TransientError

Partition = tuple[str, int]  # topic, number


class PartitionsLostError(TransientError):
    """The partitions are another member's now, or about to be."""


class Record(Protocol):
    """A record with its place in the log; `timestamp` is in milliseconds since 1970."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class ConsumedRecord(NamedTuple):
    """A record that no driver made."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class Poll(NamedTuple):
    """What one poll brought, in order within each partition, and under which assignment."""

    records: Sequence[Record]
    assignment: int
