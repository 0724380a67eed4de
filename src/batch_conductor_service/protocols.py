"""The ports: the table of contents of the service.

Every method may raise `TransientError` when its technology cannot be reached; what else it raises
is said.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.pipelines import Pipeline, PipelineCatalog, PipelineStep
from batch_conductor_service.domain.resolution import PhaseDecision, Resolution, ResolutionRequest
from batch_conductor_service.events.phase_skipped import OutgoingEvent
from batch_conductor_service.exceptions import TransientError
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchUpdate,
    EssayProcessingState,
    StepName,
)
from batch_conductor_service.port_values import (
    DeadLetter,
    QueueBacklog,
    QueueEntry,
    RedisCommand,
    RedisReading,
    SummaryReading,
    Watermark,
)


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

    async def get_essays(self, batch_id: BatchId) -> Sequence[EssayProcessingState]:
        """Return what is known of each essay of the batch, by essay id."""
        ...


class PersistenceStoreProtocol(BatchStateRepositoryProtocol, Protocol):
    """Where the queue is emptied into."""

    async def check_schema(self) -> None:
        """Return if rows that are beyond doubt are taken.

        Raises:
            StoreUnavailableError: they are not: what is refused is not the fault of a row.
        """
        ...


class BatchStateArchiveProtocol(Protocol):
    """Where whole batches can be had from when the cache has lost them."""

    async def load_states(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, BatchState]:
        """Return all evidence of those of the batches that are known."""
        ...


class RedisReaderProtocol(Protocol):
    """Reading inside a transaction: what is watched is watched from the first reading on."""

    async def read(self, commands: Sequence[RedisCommand]) -> RedisReading:
        """Run the commands in one round trip."""
        ...


Compose = Callable[[RedisReaderProtocol], Awaitable[Sequence[RedisCommand]]]


class AtomicRedisClientProtocol(Protocol):
    """Redis as the repository needs it: readings, and optimistic transactions."""

    async def read(self, commands: Sequence[RedisCommand]) -> RedisReading:
        """Run the commands in one round trip; others may write in between."""
        ...

    async def transact(self, watch: Sequence[str], compose: Compose) -> list[Any] | None:
        """WATCH the keys, compose the commands from what is read then, and execute them together.

        `None` after the allowed number of tries says that others kept changing the keys.

        Raises:
            GiveWayError: raised by `compose`; nothing was executed.
        """
        ...

    async def transact_in_lane(
        self, lane: str, watch: Sequence[str], compose: Compose
    ) -> list[Any]:
        """Do the same while others are asked to give way, until it succeeds.

        The lane is a lock with a lease, and only makes progress likely: WATCH decides.
        """
        ...


class PersistenceQueueProtocol(Protocol):
    """The updates that Redis holds and Postgres does not yet. At least once; no order promised."""

    async def read(self, count: int, *, block_seconds: float) -> Sequence[QueueEntry]:
        """Return entries nobody has, or those a dead worker left; empty after waiting in vain."""
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


class DlqProducerProtocol(Protocol):
    """Where dead letters go."""

    async def publish(self, letter: DeadLetter) -> None:
        """Publish and await the acknowledgement.

        Raises:
            BrokerUnavailableError: not acknowledged in time; the letter may yet arrive.
        """
        ...


class SkipEventPublisherProtocol(Protocol):
    """Where neighbours hear that a phase was skipped."""

    async def publish_skips(self, events: Sequence[OutgoingEvent]) -> Mapping[UUID, TransientError]:
        """Publish the events together, and await all acknowledgements.

        Returns, by event id, why events were not acknowledged in time; they may yet arrive. An
        event that the topic will never take is counted, logged, and not among them.
        """
        ...


class AnnouncementDropsProtocol(Protocol):
    """Who counts what is given up without an acknowledgement."""

    def count_skips(self, steps: Sequence[StepName]) -> None:
        """Count the skip events of these steps."""
        ...

    def count_failure(self, reason: str) -> None:
        """Count one dead letter of failed resolutions."""
        ...


class PipelineGeneratorProtocol(Protocol):
    """Where pipelines come from."""

    def load(self) -> PipelineCatalog:
        """Return the pipelines.

        Raises:
            PipelineConfigurationError: the definition has faults; all of them are named.
        """
        ...


class PipelineRulesProtocol(Protocol):
    """What of a pipeline is still to run; no state, no I/O."""

    def resolve_pipeline_dependencies(self, pipeline: Pipeline) -> Sequence[PipelineStep]:
        """Return the steps with dependencies first, then in the order of the file."""
        ...

    def prune_completed_steps(
        self,
        steps: Sequence[PipelineStep],
        summary: BatchCompletionSummary,
        essays_total: int | None = None,
    ) -> Sequence[PhaseDecision]:
        """Judge the ordered steps; skip what is proven complete with all it depends on."""
        ...

    def validate_pipeline_prerequisites(self, phases: Sequence[PhaseDecision]) -> None:
        """Check that whatever runs has its dependencies complete or running before it.

        Raises:
            PrerequisiteMissingError: it has not.
        """
        ...


class PipelineResolutionServiceProtocol(Protocol):
    """The one question."""

    async def resolve(self, request: ResolutionRequest) -> Resolution:
        """Return which steps run and which are skipped.

        Raises:
            UnknownPipelineError: neither a pipeline nor a step has the name.
            PrerequisiteMissingError: see the rules.
            StoreUnavailableError: no store could be read.
        """
        ...


class ResolutionAnnouncerProtocol(Protocol):
    """What is told to others beside the answer, never before it. Neither method waits or raises."""

    def announce(self, resolution: Resolution) -> None:
        """Have the skip events of the resolution published."""
        ...

    def announce_failure(self, request: ResolutionRequest, error: Exception) -> None:
        """Have the failed resolution dead-lettered."""
        ...


class BackgroundTaskProtocol(Protocol):
    """Something that runs as long as the service."""

    name: str

    async def run(self) -> None:
        """Run until `stop` is called; whatever it raises, the supervisor starts it again."""
        ...

    def stop(self) -> None:
        """Ask `run` to finish what it has in hand and return. May be called at any time, often."""
        ...


class HealthProbeProtocol(Protocol):
    """A dependency that can be asked whether it answers."""

    name: str

    async def ping(self) -> None:
        """Return if the dependency answers."""
        ...


class ClockProtocol(Protocol):
    """The time of day."""

    def now(self) -> datetime:
        """Return the time, aware, UTC."""
        ...
