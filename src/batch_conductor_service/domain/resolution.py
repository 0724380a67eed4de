"""The question, and its answer: which steps run, which are skipped, and why.

Pruning an unfinished step is the one unforgivable answer, so each rule here asks for proof of
completeness, and everything else runs. Pure; imports only the standard library.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from batch_conductor_service.domain.pipelines import Pipeline, PipelineStep
from batch_conductor_service.domain.statements import latest
from batch_conductor_service.models import (
    WHOLE_BATCH_STEPS,
    BatchCompletionSummary,
    BatchId,
    EssayId,
    OutcomeVerdict,
    StepCompletionSummary,
    StepName,
)
from common_core.verdicts import Reason, Verdict

_NOTHING = StepCompletionSummary()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """What a judgement is made from, and the judgement: complete, or the reason why not."""

    reason: Reason
    completed: int = 0
    failed: int = 0
    total: int | None = None
    outcome: str | None = None
    completed_at: datetime | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the step is proven complete."""
        return self.reason is Reason.ALREADY_COMPLETED


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
    `includes_essays`: the answer is to name which essays still need each step.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedPhase:
    """A phase that an answer skips, as neighbours hear of it.

    Attributes:
        event_id: follows from batch, phase and correlation id, however a UUID is spelt there, so
            that whoever hears of a repeated resolution can drop it.
        correlation_uuid: the correlation id as the UUID that envelopes demand.
    """

    event_id: UUID
    batch_id: BatchId
    step: StepName
    correlation_id: str
    correlation_uuid: UUID
    skipped_at: datetime


def essays_total(summary: BatchCompletionSummary, requested_total: int | None) -> int | None:
    """Return the number of essays, or None where only outcomes have said one.

    It is the largest that anybody has said. Outcomes alone count the essays they know.
    """
    if summary.registered_total is None and requested_total is None:
        return None
    said = (summary.registered_total, summary.reported_total, requested_total)
    return max(total for total in said if total is not None)


def judge_step(
    summary: BatchCompletionSummary,
    step: StepName,
    requested_total: int | None = None,
    depends_on: Iterable[StepName] = (),
) -> StepProgress:
    """Judge one step of a batch by what is known of it."""
    known = summary.steps.get(step, _NOTHING)
    total = essays_total(summary, requested_total)
    if known is _NOTHING and summary.is_whole:
        return _not_started(summary.reported_total if total is None else total)
    reason = Reason.STATE_UNKNOWN
    if summary.is_whole and _has_all(summary, step, total):
        reason = _judge(known, [summary.steps.get(name, _NOTHING) for name in depends_on])
    elif summary.is_whole:
        reason = _why_not_all(summary, known, total)
    return StepProgress(
        reason=reason,
        completed=known.covered if step in WHOLE_BATCH_STEPS else known.completed,
        failed=known.failed,
        total=summary.reported_total if total is None else total,
        outcome=known.outcome.status if known.outcome else None,
        completed_at=known.last_completed_at if reason is Reason.ALREADY_COMPLETED else None,
    )


@lru_cache
def _not_started(total: int | None) -> StepProgress:
    """Return what is judged of a step of which nothing was ever heard: there may be thousands."""
    return StepProgress(reason=Reason.NOT_STARTED, total=total)


def _has_all(summary: BatchCompletionSummary, step: StepName, total: int | None) -> bool:
    """Whether every essay is completed, and for a step over the whole batch, in one completion.

    Where more essays are known than the total says, the number itself may be wrong.
    """
    known = summary.steps.get(step, _NOTHING)
    if total is None and known.is_confirmed:
        total = summary.reported_total
    if total is None or summary.essays_known > total or not known.completed == total > 0:
        return False
    return step not in WHOLE_BATCH_STEPS or known.covered == total


def _judge(known: StepCompletionSummary, made_from: Iterable[StepCompletionSummary]) -> Reason:
    """Judge a step of which every essay is completed by what it was made from."""
    is_outdated = known.outdated > 0
    if known.completions:
        times = (step.last_completed_at for step in made_from)
        since = known.completions[0].occurred_at
        is_outdated = any(time is not None and time > since for time in times)
    return Reason.PREREQUISITE_NEWER if is_outdated else Reason.ALREADY_COMPLETED


def _why_not_all(
    summary: BatchCompletionSummary, known: StepCompletionSummary, total: int | None
) -> Reason:
    if known == _NOTHING:
        return Reason.NOT_STARTED
    if known.failed:
        return Reason.FAILED_ESSAYS
    if known.unreadable or _is_latest(latest(known.unreadable_at, summary.unreadable_at), known):
        return Reason.UNREADABLE_EVENT
    if _is_unsuccessful(known):
        return Reason.OUTCOME_NOT_SUCCESSFUL
    return Reason.TOTAL_UNKNOWN if total is None else Reason.INCOMPLETE


def _is_unsuccessful(known: StepCompletionSummary) -> bool:
    outcome = known.outcome
    if outcome is None or outcome.verdict is OutcomeVerdict.CONFIRMS:
        return False
    return _is_latest(outcome.occurred_at, known)


def _is_latest(time: datetime | None, known: StepCompletionSummary) -> bool:
    """Whether nothing has been heard of any essay since."""
    heard = (known.last_observed_at, known.last_completed_at)
    return time is not None and all(one is None or one <= time for one in heard)
