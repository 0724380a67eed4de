"""What is read from Kafka, whatever reads it. Knows no driver."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from common_core.records import Partition
from service_libs.exceptions import InvalidMessageError, ServiceError, TransientError


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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """What could not be handled, as it was, and why.

    For a consumed record `payload`, `key` and `headers` are the original's, untouched. `reason` is
    of a closed set, `error_info` has no secret.
    """

    base_topic: str
    reason: str
    error_type: str
    error_message: str
    payload: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None
    offset: int | None = None
    timestamp_ms: int | None = None
    consumer_group: str | None = None
    correlation_id: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPosition:
    """The first offset that the group has not committed, if any, and the first that there is."""

    committed: int | None
    beginning: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """What running consumers are asked: where each partition is to be read from again."""

    request_id: str
    offsets: Mapping[Partition, int]
    settled: frozenset[Partition] = frozenset()


def to_dead_letter(record: Record, error: ServiceError, group_id: str) -> DeadLetter:
    """Return the record as it was, with where it was read and why it was refused."""
    return DeadLetter(
        base_topic=record.topic,
        reason=reason_of(error),
        error_type=type(error).__name__,
        error_message=str(error),
        payload=record.value,
        key=record.key,
        headers=tuple(record.headers),
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        consumer_group=group_id,
    )


def reason_of(error: ServiceError) -> str:
    """Return the reason of a closed set for which a record cannot be applied."""
    return error.reason if isinstance(error, InvalidMessageError) else error.code
