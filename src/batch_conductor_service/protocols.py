"""The ports: the table of contents of the service.

Every method may raise `TransientError` when its technology cannot be reached; what else it raises
is said.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.drift import ArchivedBatch, CachedBatch
from batch_conductor_service.domain.freshness import (
    Freshness,
    GroupPromises,
    PartitionFreshness,
)
from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.domain.resolution import (
    Resolution,
    ResolutionRequest,
    SkippedPhase,
)
from batch_conductor_service.models import (
    BatchId,
    BatchUpdate,
    IdleBatch,
    QueueBacklog,
    QueueEntry,
    SummaryReading,
    Watermark,
)
from common_core.records import Partition
from service_libs.exceptions import TransientError


class BatchStateRepositoryProtocol(Protocol):
    """What is known of batches.

    Applying is idempotent and order-free: the state after a set of updates is that of
    `domain.batch_state.BatchState` after merging them, however often and in whatever order they
    came.
    """

    async def apply(self, updates: Sequence[BatchUpdate]) -> Sequence[str | None]:
        """Merge the updates, each wholly or not at all; return one queue entry id for each.

        None instead of an id says that the update is already as durable as it gets. After a raise
        any of the updates may have been applied: apply them again.

        Raises:
            RefusedUpdateError: the store will never take one of them; none of them is applied.
        """
        ...

    async def get_summary(self, batch_id: BatchId) -> SummaryReading:
        """Return the batch's summary; that of a batch nobody has heard of is empty.

        Raises:
            StoreUnavailableError: no store could be read.
        """
        ...

    async def get_state(self, batch_id: BatchId) -> BatchState:
        """Return all that is known of the batch, essay by essay."""
        ...


class PersistenceStoreProtocol(BatchStateRepositoryProtocol, Protocol):
    """Where the queue is emptied into."""

    async def check_schema(self) -> None:
        """Return if rows that nothing is wrong with are taken.

        Raises:
            StoreUnavailableError: they are not: what is refused is not the fault of a row.
        """
        ...


class BatchStateArchiveProtocol(Protocol):
    """Where whole batches can be had from when the cache has lost them."""

    async def load_states(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, BatchState]:
        """Return all evidence of those of the batches that are known."""
        ...


MAX_READ_BYTES = 4 * 1024 * 1024


class PersistenceQueueProtocol(Protocol):
    """The updates that Redis holds and Postgres does not yet. At least once; no order promised."""

    async def read(
        self, count: int, *, block_seconds: float, max_bytes: int = MAX_READ_BYTES
    ) -> Sequence[QueueEntry]:
        """Return entries nobody has, or those a dead worker left; empty after waiting in vain.

        Their payloads may be more than so many bytes by those of a few entries.
        """
        ...

    async def acknowledge(self, entry_ids: Sequence[str]) -> None:
        """Say that Postgres holds these entries, and forget them."""
        ...

    async def get_watermark(self) -> Watermark:
        """Return up to where entries are acknowledged, in one atomic reading."""
        ...

    async def get_backlog(self) -> QueueBacklog:
        """Return how much waits."""
        ...


class SkipEventPublisherProtocol(Protocol):
    """Where neighbours hear that a phase was skipped."""

    async def publish_skips(self, events: Sequence[SkippedPhase]) -> Mapping[UUID, TransientError]:
        """Publish the events together, and await all acknowledgements.

        Returns, by event id, why events were not acknowledged in time; they may yet arrive. An
        event that the topic will never take is counted, logged, and not among them.
        """
        ...


class PipelineGeneratorProtocol(Protocol):
    """Where pipelines come from."""

    def load(self) -> PipelineCatalog:
        """Return the pipelines.

        Raises:
            PipelineConfigurationError: the definition has faults; all of them are named.
        """
        ...


class ResolutionAnnouncerProtocol(Protocol):
    """What others hear beside the answer, never before it. Neither announcement waits or raises."""

    async def wait_for_room(self) -> None:
        """Wait a moment if many announcements wait; to be awaited before there is one more."""
        ...

    def announce(self, resolution: Resolution) -> None:
        """Have the skip events of the resolution published."""
        ...

    def announce_failure(self, request: ResolutionRequest, error: Exception) -> None:
        """Have the failed resolution dead-lettered."""
        ...


class FreshnessProtocol(Protocol):
    """Up to when answers cover what Kafka held. Costs nothing: it is known in this process."""

    def current(self) -> Freshness:
        """Return what is known now; to be asked before the state is read that it speaks of."""
        ...

    def covers(self, until: datetime | None, not_before: datetime | None) -> bool:
        """Whether an answer with this freshness may prune, and has what the caller knows of."""
        ...

    async def wait_until(self, moment: datetime, timeout_seconds: float) -> None:
        """Return when the freshness has reached the moment, or after that time."""
        ...


class FreshnessBoardProtocol(Protocol):
    """Where the replicas show each other what they promise of their partitions."""

    async def exchange(self, own: Mapping[Partition, PartitionFreshness]) -> GroupPromises:
        """Show our promises; return those of all replicas, in the same round trip.

        Only what was written since this process began, and what is not lost with a queue, counts.
        """
        ...


class IdleBatchesProtocol(Protocol):
    """Where batches are kept, with when something was last said of them."""

    async def find(self, days: int, after: IdleBatch | None, count: int) -> Sequence[IdleBatch]:
        """Return the first so many that are idle for so long, the idlest first, after that one."""
        ...

    async def delete(
        self, batch_id: BatchId, days: int, may_go: Callable[[], Awaitable[bool]]
    ) -> bool:
        """Delete all of the batch if it is still idle and `may_go` says yes; return whether.

        No write of the batch comes between the question and the deletion.
        """
        ...


class PassingBatchesProtocol(Protocol):
    """What is on its way to where batches are kept, and what was read of them."""

    async def is_waiting(self, batch_id: BatchId) -> bool:
        """Whether something of the batch waits to be written; also where that is not known."""
        ...

    async def forget(self, batch_id: BatchId) -> None:
        """Forget what was read of the batch: whoever is about to write it reads it again."""
        ...


class BatchCacheProtocol(Protocol):
    """What Redis alone knows of batches."""

    async def read(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, CachedBatch]:
        """Return those of the batches that Redis has anything of."""
        ...

    def list_batches(self) -> AsyncIterator[Sequence[BatchId]]:
        """Return, some at a time, all batches that Redis has; one may come more than once."""
        ...

    async def forget_summaries(self, batch_ids: Sequence[BatchId]) -> None:
        """Have the batches merged with Postgres when they are next written or asked for."""
        ...


class BatchRecordsProtocol(Protocol):
    """What Postgres alone knows of batches."""

    async def read(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, ArchivedBatch]:
        """Return those of the batches that Postgres has anything of."""
        ...

    async def list_batches(self, after: BatchId | None, count: int) -> Sequence[BatchId]:
        """Return the first so many batches by id, after that one."""
        ...

    async def find_known(self, batch_ids: Sequence[BatchId]) -> Collection[BatchId]:
        """Return those of the batches that Postgres has anything of."""
        ...

    async def recount(self, batch_ids: Sequence[BatchId]) -> None:
        """Count the batches again from their evidence."""
        ...


class QueuedUpdatesProtocol(Protocol):
    """What is on its way to Postgres."""

    async def find_queued(self, batch_ids: Collection[BatchId]) -> Sequence[BatchUpdate]:
        """Return what waits, or is in a worker's hands, of these batches."""
        ...


class UnarchivedBatchesProtocol(Protocol):
    """The batches that were written while no archive was in use."""

    async def find(self, count: int) -> Sequence[BatchId]:
        """Return some of them; none when there are none left."""
        ...

    async def forget(self, batch_ids: Sequence[BatchId]) -> None:
        """Say that these are queued for the archive, or gone.

        One that was written without an archive since then is not forgotten.
        """
        ...
