"""What is known of a batch: evidence, outcomes, registrations, and the summary.

Pure values; imports only the standard library. How two pieces of evidence merge stands in
`domain.merging`, when a step is complete in `domain.completeness`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

BatchId = NewType("BatchId", str)
EssayId = NewType("EssayId", str)
StepName = NewType("StepName", str)

OBSERVED = ""  # the source of evidence that an essay's own event gave


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
    REPORTS = "reports"  # it only tells how many essays there are


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
    and the outcome's fingerprint for what a phase outcome reports of the essay.
    """

    essay_id: EssayId
    step: StepName
    evidence: StepEvidence
    source: str = OBSERVED


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseOutcome:
    """How a phase ended for a batch.

    `fingerprint` is a hash of the content: a neighbour that sends an outcome again makes a new
    envelope with a new time, and the earliest time seen is the true one.
    """

    step: StepName
    fingerprint: str
    occurred_at: datetime
    status: str
    verdict: OutcomeVerdict
    reported_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRegistration:
    """How many essays a batch has, and which; the latest registration counts.

    `essay_ids` is empty when the sender named none, or not as many as it counted.
    """

    fingerprint: str
    occurred_at: datetime
    essays_total: int
    essay_ids: tuple[EssayId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPosition:
    """Where in Kafka an event was read."""

    topic: str
    partition: int
    offset: int


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
    """The progress of one step over a batch.

    Attributes:
        completed: expected essays that are completed, and since the last refutation.
        failed: expected essays whose status is failed.
        last_observed_at: time of the latest own event of an expected essay.
        refuted_at: time of the latest outcome that refutes; what completed no later does not stand.
        outcome: the latest outcome that does more than report a number.
    """

    completed: int = 0
    failed: int = 0
    last_observed_at: datetime | None = None
    refuted_at: datetime | None = None
    outcome: PhaseOutcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCompletionSummary:
    """The progress of a batch over its steps.

    Attributes:
        registered_total: essays of the batch by its latest registration.
        reported_total: the largest number of essays that an outcome or a summary has said.
        essays_known: essays that anything was ever said of.
        is_whole: whether all that was ever persisted of the batch is in here. An answer from a
            part of the evidence could miss a failure, so it must not prune.
    """

    batch_id: BatchId
    registered_total: int | None = None
    reported_total: int | None = None
    essays_known: int = 0
    steps: Mapping[StepName, StepCompletionSummary] = field(default_factory=dict)
    is_whole: bool = True
