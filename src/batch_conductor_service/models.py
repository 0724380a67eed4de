"""What is known of a batch: evidence, outcomes, registrations, the summary; and what ports pass on.

Pure values; imports only the standard library. How two pieces of evidence merge stands in
`domain.statements`, when a step is complete in `domain.resolution`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, NewType

from common_core.records import RecordPosition

BatchId = NewType("BatchId", str)
EssayId = NewType("EssayId", str)
StepName = NewType("StepName", str)

OBSERVED = ""  # the source of evidence that an essay's own event gave
UNREADABLE = "unreadable"  # the source, or the fingerprint, of a record that could not be read
OWN_PREFIX = "own:"  # begins the fingerprint of what the service that ran the step says itself

# Steps that judge all essays together: one completion must cover every essay of the batch.
WHOLE_BATCH_STEPS = frozenset({StepName("cj_assessment")})


class ProcessingStepStatus(StrEnum):
    """How far one essay is in one step."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


class OutcomeVerdict(StrEnum):
    """What a phase outcome proves about its step."""

    CONFIRMS = "confirms"  # the phase ended without a failure
    PARTIAL = "partial"  # some essays failed, and are named; the others stand
    REFUTES = "refutes"  # it ended otherwise: nothing that completed before it stands
    REPORTS = "reports"  # it only says how many essays there are


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvidence:
    """One statement about one essay in one step, at the time its sender gave (UTC)."""

    status: ProcessingStepStatus
    occurred_at: datetime
    storage_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EssayEvidence:
    """A statement with its address.

    `source` is `OBSERVED` for the essay's own event, whose later statement replaces the earlier,
    the outcome's fingerprint for what a phase outcome reports of the essay, and `UNREADABLE` for a
    record about the essay that could not be read. The status of a statement that is not observed
    follows from its source.
    """

    essay_id: EssayId
    step: StepName
    evidence: StepEvidence
    source: str = OBSERVED


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseOutcome:
    """How a phase ended for a batch.

    `fingerprint` is a hash of the content: a neighbour that sends an outcome again makes a new
    envelope with a new time. Of a success the earliest copy counts, of anything else the latest.
    A record about all of the phase that could not be read stands here as `UNREADABLE`, and refutes.
    """

    step: StepName
    fingerprint: str
    occurred_at: datetime
    status: str
    verdict: OutcomeVerdict
    reported_total: int

    @property
    def is_own(self) -> bool:
        """Whether the service that ran the step says so itself."""
        return self.fingerprint.startswith(OWN_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRegistration:
    """How many essays a batch has, and which, where its sender names them.

    A registration that could not be read stands here as `UNREADABLE`, with a total of 0.

    Attributes:
        occurred_at: the time of the earliest copy.
        repeated_at: the time of the latest copy.
        essays_total: the number that was said, or the number of essays named, if that is more.
    """

    fingerprint: str
    occurred_at: datetime
    repeated_at: datetime
    essays_total: int
    essay_ids: tuple[EssayId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchUpdate:
    """All that some events say about one batch; the unit that repositories apply atomically."""

    batch_id: BatchId
    evidence: tuple[EssayEvidence, ...] = ()
    outcomes: tuple[PhaseOutcome, ...] = ()
    registrations: tuple[BatchRegistration, ...] = ()
    positions: tuple[RecordPosition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EssayStep:
    """All evidence about one essay in one step, by source."""

    sources: Mapping[str, StepEvidence]


@dataclass(frozen=True, slots=True, kw_only=True)
class EssayProcessingState:
    """What is known of one essay: its steps with their evidence."""

    batch_id: BatchId
    essay_id: EssayId
    steps: Mapping[StepName, EssayStep] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCompletionSummary:
    """The progress of one step over the essays that count.

    Attributes:
        completed: essays whose completion stands.
        failed: essays whose status is failed.
        outdated: completed essays that completed a step it depends on again since.
        unreadable: essays that a record which could not be read keeps from being completed.
        covered: essays that are in each of `completions`.
        last_observed_at: time of the latest own event.
        last_completed_at: time of the latest completion that stands.
        refuted_at: time of the latest outcome that refutes; what completed no later does not stand.
        unreadable_at: time of the latest record about the step that could not be read.
        needs_own: whether a record of the step's own service could not be read: then only what that
            service says completes an essay.
        is_confirmed: whether the latest outcome by the orchestrator is a success of the phase.
        outcome: the latest outcome that does more than report a number.
        completions: of a step that judges all essays together, those of which each must cover
            every essay; the time of the first is that of the step.
    """

    completed: int = 0
    failed: int = 0
    outdated: int = 0
    unreadable: int = 0
    covered: int = 0
    last_observed_at: datetime | None = None
    last_completed_at: datetime | None = None
    refuted_at: datetime | None = None
    unreadable_at: datetime | None = None
    needs_own: bool = False
    is_confirmed: bool = False
    outcome: PhaseOutcome | None = None
    completions: tuple[PhaseOutcome, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCompletionSummary:
    """The progress of a batch over its steps.

    Attributes:
        registered_total: essays of the batch by the registration in force, and by larger ones
            repeated since.
        reported_total: the largest number of essays that an outcome has said since then.
        names_essays: whether the registration in force names essays; then only those count.
        unreadable_at: time of a registration that could not be read, if none was read since.
        essays_known: essays that count and that anything was ever said of.
        is_whole: whether it is *whole*: all that was ever persisted of the batch is in it. An
            answer from a part of the evidence could miss a failure, so it must not prune.
    """

    batch_id: BatchId
    registered_total: int | None = None
    reported_total: int | None = None
    names_essays: bool = False
    unreadable_at: datetime | None = None
    essays_known: int = 0
    steps: Mapping[StepName, StepCompletionSummary] = field(default_factory=dict)
    is_whole: bool = True


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


class IdleBatch(NamedTuple):
    """A batch, and when something was last said of it."""

    batch_id: BatchId
    last_said_at: datetime
