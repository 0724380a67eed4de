"""Everything known of one batch, as evidence, and the summary that follows from it.

Pure; imports only the standard library. The reference for every repository: Postgres recounts from
rows and Redis counts by differences, and both must agree with this module.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from batch_conductor_service.domain.merging import (
    earlier,
    merge_evidence,
    standing_status,
)
from batch_conductor_service.models import (
    OBSERVED,
    BatchCompletionSummary,
    BatchId,
    BatchRegistration,
    BatchUpdate,
    EssayEvidence,
    EssayId,
    EssayProcessingState,
    EssayStep,
    OutcomeVerdict,
    PhaseOutcome,
    ProcessingStepStatus,
    StepCompletionSummary,
    StepEvidence,
    StepName,
)

_SEVERITY: Mapping[OutcomeVerdict, int] = {
    OutcomeVerdict.CONFIRMS: 0,
    OutcomeVerdict.PARTIAL: 1,
    OutcomeVerdict.REFUTES: 2,
}


class BatchState:
    """A batch's evidence. `merge` may be called in any order and any number of times."""

    def __init__(self, batch_id: BatchId) -> None:
        self.batch_id = batch_id
        self._evidence: dict[EssayId, dict[StepName, dict[str, StepEvidence]]] = {}
        self._outcomes: dict[tuple[StepName, str], PhaseOutcome] = {}
        self._registrations: dict[str, BatchRegistration] = {}

    def merge(self, update: BatchUpdate) -> None:
        """Take in what an update says."""
        for item in update.evidence:
            sources = self._evidence.setdefault(item.essay_id, {}).setdefault(item.step, {})
            sources[item.source] = merge_evidence(
                item.source, sources.get(item.source), item.evidence
            )
        for outcome in update.outcomes:
            key = (outcome.step, outcome.fingerprint)
            self._outcomes[key] = earlier(self._outcomes.get(key, outcome), outcome)
        for registration in update.registrations:
            known = self._registrations.get(registration.fingerprint, registration)
            self._registrations[registration.fingerprint] = earlier(known, registration)

    def as_update(self) -> BatchUpdate:
        """Return all evidence as one update: merging it elsewhere copies the batch."""
        return BatchUpdate(
            batch_id=self.batch_id,
            evidence=tuple(
                EssayEvidence(essay_id=essay_id, step=step, source=source, evidence=evidence)
                for essay_id, steps in self._evidence.items()
                for step, sources in steps.items()
                for source, evidence in sources.items()
            ),
            outcomes=tuple(self._outcomes.values()),
            registrations=tuple(self._registrations.values()),
        )

    def essays(self) -> list[EssayProcessingState]:
        """Return what is known of each essay, by essay id."""
        return [
            EssayProcessingState(
                batch_id=self.batch_id,
                essay_id=essay_id,
                steps={step: EssayStep(sources=dict(s)) for step, s in steps.items()},
            )
            for essay_id, steps in sorted(self._evidence.items())
        ]

    def summarise(self) -> BatchCompletionSummary:
        """Return the counts and outcomes that follow from the evidence."""
        registration = latest_registration(self._registrations.values())
        members = set(registration.essay_ids) if registration else set()
        essays = [e for e in self.essays() if not members or e.essay_id in members]
        names = {step for essay in self._evidence.values() for step in essay}
        names |= {step for step, _ in self._outcomes}
        return BatchCompletionSummary(
            batch_id=self.batch_id,
            registered_total=registration.essays_total if registration else None,
            reported_total=max((o.reported_total for o in self._outcomes.values()), default=0)
            or None,
            essays_known=len(self._evidence),
            steps={name: self._summarise_step(name, essays) for name in sorted(names)},
        )

    def _summarise_step(
        self, name: StepName, essays: Iterable[EssayProcessingState]
    ) -> StepCompletionSummary:
        steps = [essay.steps[name] for essay in essays if name in essay.steps]
        outcomes = [o for (step, _), o in self._outcomes.items() if step == name]
        refuted_at = last_refutation(outcomes)
        statuses = [standing_status(step, refuted_at) for step in steps]
        observed = [s.sources[OBSERVED].occurred_at for s in steps if OBSERVED in s.sources]
        return StepCompletionSummary(
            completed=statuses.count(ProcessingStepStatus.COMPLETED),
            failed=statuses.count(ProcessingStepStatus.FAILED),
            last_observed_at=max(observed, default=None),
            refuted_at=refuted_at,
            outcome=latest_outcome(outcomes),
        )


def latest_registration(registrations: Iterable[BatchRegistration]) -> BatchRegistration | None:
    """Return the registration that counts: the latest; of two at one time, the larger."""
    return max(
        registrations,
        key=lambda r: (r.occurred_at, r.essays_total, r.fingerprint),
        default=None,
    )


def latest_outcome(outcomes: Iterable[PhaseOutcome]) -> PhaseOutcome | None:
    """Return the outcome that counts: the latest; of two at one time, the worse."""
    return max(
        (o for o in outcomes if o.verdict is not OutcomeVerdict.REPORTS),
        key=lambda o: (o.occurred_at, _SEVERITY[o.verdict], o.fingerprint),
        default=None,
    )


def last_refutation(outcomes: Iterable[PhaseOutcome]) -> datetime | None:
    """Return when the phase was last refuted, if ever."""
    refuted = (o.occurred_at for o in outcomes if o.verdict is OutcomeVerdict.REFUTES)
    return max(refuted, default=None)
