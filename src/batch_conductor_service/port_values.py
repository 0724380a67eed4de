"""What passes through the ports: what is read, queued, dead-lettered and asked. Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from batch_conductor_service.models import BatchCompletionSummary, BatchId, BatchUpdate
from common_core.records import Partition


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryReading:
    """A batch's summary, and whether it was read past an unreachable cache.

    `server_run` names the data that it was read from, where that may be lost.
    """

    summary: BatchCompletionSummary
    is_degraded: bool = False
    server_run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEntry:
    """One update that waits for Postgres; `update` is None where the bytes cannot be read."""

    entry_id: str
    update: BatchUpdate | None
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBacklog:
    """How much waits for Postgres, and since when (seconds; 0 when nothing waits).

    `size_bytes` is of the payloads, as near as the store knows without walking the queue.
    """

    depth: int
    oldest_age_seconds: float
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """Up to where the queue has reached Postgres.

    `generation` names one queue in the data of one run of Redis. An entry id of another generation
    proves nothing: Redis may have come back without its last second, or empty.
    """

    generation: str
    held_through: tuple[int, int]

    def holds(self, entry_id: str) -> bool:
        """Whether Postgres has the effect of the entry."""
        milliseconds, sequence = entry_id.split("-")
        return (int(milliseconds), int(sequence)) <= self.held_through


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """What running consumers are asked: where each partition is to be read from again."""

    request_id: str
    offsets: Mapping[Partition, int]
    obeyed: frozenset[Partition] = frozenset()


class IdleBatch(NamedTuple):
    """A batch, and when something was last said of it."""

    batch_id: BatchId
    last_said_at: datetime
