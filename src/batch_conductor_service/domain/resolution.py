"""The answer to the one question: which steps run, which are skipped, and why. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from batch_conductor_service.domain.completeness import StepProgress
from batch_conductor_service.domain.pipelines import Pipeline, PipelineStep
from batch_conductor_service.models import BatchId, EssayId, StepName
from common_core.verdicts import Reason, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseDecision:
    """The verdict on one step, its reason, and the evidence it is made from.

    `pending` has the essays that still need the step, where that is asked for and known.
    """

    step: PipelineStep
    verdict: Verdict
    reason: Reason
    progress: StepProgress
    pending: tuple[EssayId, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionRequest:
    """What BOS asks: which steps of a pipeline are still to run for a batch.

    `body` is the question as it was sent, where it is not too large to be kept. `not_before` is
    when something happened that the answer must know of, if it is to skip anything.
    `includes_essays`: it is to tell which essays still need each step.
    """

    batch_id: BatchId
    requested_pipeline: str
    correlation_id: str
    essays_total: int | None = None
    body: bytes | None = field(default=None, repr=False)
    not_before: datetime | None = None
    includes_essays: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The answer.

    `phases` has every step of the sub-graph in order. `is_degraded` says that it was given without
    the cache, or without all that is known of the batch. `known_until`: every record that Kafka
    held at this time is in it; None when nobody knows.
    """

    request: ResolutionRequest
    pipeline: Pipeline
    phases: Sequence[PhaseDecision]
    is_degraded: bool
    known_until: datetime | None = None

    @property
    def final_pipeline(self) -> list[StepName]:
        """The steps to run, dependencies first."""
        return [phase.step.name for phase in self.phases if phase.verdict is Verdict.RUN]

    @property
    def skipped(self) -> list[StepName]:
        """The steps that were pruned, in order."""
        return [phase.step.name for phase in self.phases if phase.verdict is Verdict.SKIP]

    @property
    def analysis_summary(self) -> str:
        """One sentence for a person."""
        total = len(self.phases)
        name, batch = self.pipeline.name, self.request.batch_id
        if not self.final_pipeline:
            return f"All {total} steps of '{name}' are already complete for batch '{batch}'."
        done = f"; already complete: {', '.join(self.skipped)}" if self.skipped else ""
        caveat = " Answered without the whole state of the batch." if self.is_degraded else ""
        to_run = ", ".join(self.final_pipeline)
        counts = f"{len(self.final_pipeline)} of {total} steps of '{name}'"
        return f"Batch '{batch}': {counts} to run: {to_run}{done}.{caveat}"
