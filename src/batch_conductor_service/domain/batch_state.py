"""Everything known of one batch, as evidence, and the summary that follows from it.

Pure; imports only the standard library. The reference for every repository.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from batch_conductor_service.domain.counting import tally_all, with_counts
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.domain.statements import (
    merge_evidence,
    merge_outcome,
    merge_registration,
)
from batch_conductor_service.models import (
    OWN_PREFIX,
    UNREADABLE,
    WHOLE_BATCH_STEPS,
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
    StepCompletionSummary,
    StepEvidence,
    StepName,
)

_SEVERITY: Mapping[OutcomeVerdict, int] = {
    OutcomeVerdict.CONFIRMS: 0,
    OutcomeVerdict.PARTIAL: 1,
    OutcomeVerdict.REFUTES: 2,
}
_UNREADABLE = frozenset({UNREADABLE, OWN_PREFIX + UNREADABLE})


class BatchState:
    """A batch's evidence. `merge` may be called in any order and any number of times."""

    def __init__(self, batch_id: BatchId) -> None:
        self.batch_id = batch_id
        self._evidence: dict[EssayId, dict[StepName, dict[str, StepEvidence]]] = {}
        self._outcomes: dict[tuple[StepName, str], PhaseOutcome] = {}
        self._registrations: dict[str, BatchRegistration] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever said."""
        return not (self._evidence or self._outcomes or self._registrations)

    def merge(self, update: BatchUpdate) -> None:
        """Take in what an update says."""
        for item in update.evidence:
            self._merge_evidence(item.essay_id, item.step, item.source, item.evidence)
        for outcome in update.outcomes:
            key = (outcome.step, outcome.fingerprint)
            self._outcomes[key] = merge_outcome(self._outcomes.get(key), outcome)
        for one in update.registrations:
            known = self._registrations.get(one.fingerprint)
            self._registrations[one.fingerprint] = merge_registration(known, one)

    def merge_essay(self, essay: EssayProcessingState) -> None:
        """Take in all that is known of an essay."""
        for name, step in essay.steps.items():
            for source, said in step.sources.items():
                self._merge_evidence(essay.essay_id, name, source, said)

    def _merge_evidence(
        self, essay_id: EssayId, step: StepName, source: str, said: StepEvidence
    ) -> None:
        sources = self._evidence.setdefault(essay_id, {}).setdefault(step, {})
        sources[source] = merge_evidence(source, sources.get(source), said)

    def reports(self) -> BatchUpdate:
        """Return the outcomes and registrations as an update."""
        return BatchUpdate(
            batch_id=self.batch_id,
            outcomes=tuple(self._outcomes.values()),
            registrations=tuple(self._registrations.values()),
        )

    def as_update(self) -> BatchUpdate:
        """Return all evidence as one update: merging it elsewhere copies the batch."""
        evidence = tuple(
            EssayEvidence(essay_id=essay_id, step=step, source=source, evidence=evidence)
            for essay_id, steps in self._evidence.items()
            for step, sources in steps.items()
            for source, evidence in sources.items()
        )
        return replace(self.reports(), evidence=evidence)

    def essays(self) -> list[EssayProcessingState]:
        """Return what is known of each essay, by essay id."""
        return list(self.each_essay())

    def each_essay(self) -> Iterator[EssayProcessingState]:
        """Yield the same one by one: there may be tens of thousands."""
        for essay_id in sorted(self._evidence):
            steps = self._evidence[essay_id]
            yield EssayProcessingState(
                batch_id=self.batch_id,
                essay_id=essay_id,
                steps={step: EssayStep(sources=dict(s)) for step, s in steps.items()},
            )

    def members(self) -> frozenset[EssayId] | None:
        """Return the essays that the registration in force names, or None where all count."""
        return _members(registrations_in_force(self._registrations.values()))

    def summarise(self, dependencies: StepDependencies) -> BatchCompletionSummary:
        """Return the counts and outcomes that follow from the evidence."""
        summary, members = self._summarise_reports(), self.members()
        heard_of = self._evidence.keys()
        counted = heard_of if members is None else heard_of & members
        steps = (self._steps_of(essay_id) for essay_id in counted)
        return with_counts(summary, tally_all(summary, dependencies, steps), len(counted))

    def _steps_of(self, essay_id: EssayId) -> dict[StepName, EssayStep]:
        return {step: EssayStep(sources=s) for step, s in self._evidence[essay_id].items()}

    def _summarise_reports(self) -> BatchCompletionSummary:
        """Return what outcomes and registrations say, without counting any essay."""
        in_force = registrations_in_force(self._registrations.values())
        since = in_force[0].occurred_at if in_force else None
        names = {step for essay in self._evidence.values() for step in essay}
        names |= {step for step, _ in self._outcomes}
        return BatchCompletionSummary(
            batch_id=self.batch_id,
            registered_total=_registered_total(since, self._registrations.values()),
            reported_total=_reported_total(since, self._outcomes.values()),
            names_essays=_members(in_force) is not None,
            unreadable_at=_unreadable_registration(self._registrations),
            steps={name: self._summarise_outcomes(name) for name in sorted(names)},
        )

    def _summarise_outcomes(self, name: StepName) -> StepCompletionSummary:
        outcomes = [o for (step, _), o in self._outcomes.items() if step == name]
        unreadable = [one for one in outcomes if one.fingerprint in _UNREADABLE]
        readable = [one for one in outcomes if one.fingerprint not in _UNREADABLE]
        latest_report = latest_outcome(one for one in readable if not one.is_own)
        return StepCompletionSummary(
            refuted_at=_last_refutation(readable),
            unreadable_at=_last_refutation(unreadable),
            needs_own=any(one.is_own for one in unreadable),
            is_confirmed=latest_report is not None
            and latest_report.verdict is OutcomeVerdict.CONFIRMS,
            outcome=latest_outcome(readable),
            completions=_binding_completions(name, outcomes),
        )


def merge_updates(updates: Sequence[BatchUpdate]) -> BatchUpdate:
    """Return what updates of one batch say together, with the positions of all of them."""
    if len(updates) == 1:
        return updates[0]
    state = BatchState(updates[0].batch_id)
    for update in updates:
        state.merge(update)
    positions = tuple(position for update in updates for position in update.positions)
    return replace(state.as_update(), positions=positions)


def registrations_in_force(
    registrations: Iterable[BatchRegistration],
) -> list[BatchRegistration]:
    """Return the latest registration by its earliest copy; several where they are of one time."""
    readable = [one for one in registrations if one.fingerprint != UNREADABLE]
    latest = max((one.occurred_at for one in readable), default=None)
    return [one for one in readable if one.occurred_at == latest]


def latest_outcome(outcomes: Iterable[PhaseOutcome]) -> PhaseOutcome | None:
    """Return the outcome that counts: the latest; of two at one time, the worse."""
    return max(
        (o for o in outcomes if o.verdict is not OutcomeVerdict.REPORTS),
        key=lambda o: (o.occurred_at, _SEVERITY[o.verdict], o.fingerprint),
        default=None,
    )


def _members(in_force: Sequence[BatchRegistration]) -> frozenset[EssayId] | None:
    """Return the essays that all of them name: two that name different ones contradict each other.

    Then too few essays count for any total, until the next registration.
    """
    if not any(one.essay_ids for one in in_force):
        return None
    return frozenset.intersection(*(frozenset(one.essay_ids) for one in in_force))


def _registered_total(
    since: datetime | None, registrations: Iterable[BatchRegistration]
) -> int | None:
    """Return the total of the registration in force, or of a larger one repeated since."""
    if since is None:
        return None
    return max(one.essays_total for one in registrations if one.repeated_at >= since)


def _reported_total(since: datetime | None, outcomes: Iterable[PhaseOutcome]) -> int | None:
    """Return the largest number that an outcome has said since the registration in force."""
    numbers = (o.reported_total for o in outcomes if since is None or o.occurred_at >= since)
    return max(numbers, default=0) or None


def _unreadable_registration(registrations: Mapping[str, BatchRegistration]) -> datetime | None:
    """Return the time of a registration that could not be read, unless one was read since."""
    unreadable = registrations.get(UNREADABLE)
    if unreadable is None:
        return None
    read = (one.occurred_at for one in registrations.values() if one is not unreadable)
    is_lifted = any(time > unreadable.repeated_at for time in read)
    return None if is_lifted else unreadable.repeated_at


def _last_refutation(outcomes: Iterable[PhaseOutcome]) -> datetime | None:
    refuted = (o.occurred_at for o in outcomes if o.verdict is OutcomeVerdict.REFUTES)
    return max(refuted, default=None)


def _binding_completions(
    step: StepName, outcomes: Sequence[PhaseOutcome]
) -> tuple[PhaseOutcome, ...]:
    """Return the completions of a step over the whole batch that must cover every essay.

    Those are the latest, and all that is reported since. The step's own service gives its word for
    it: only where it is silent do outcomes complete it, and a report does not move the time.
    """
    if step not in WHOLE_BATCH_STEPS:
        return ()
    own = [one for one in outcomes if one.is_own]
    reported = [one for one in outcomes if not one.is_own and _says_who_completed(one)]
    latest = _latest(own or [one for one in reported if _is_completion(one)])
    if not latest or not all(map(_is_completion, latest)):
        return ()
    since = (o for o in reported if o.occurred_at >= latest[0].occurred_at and o not in latest)
    return (*latest, *sorted(since, key=_order))


def _is_completion(outcome: PhaseOutcome) -> bool:
    """Whether it is one; earlier versions held it for a report of a number of essays."""
    kinds = (OutcomeVerdict.CONFIRMS, OutcomeVerdict.REPORTS)
    return outcome.verdict in kinds and outcome.reported_total > 0


def _says_who_completed(outcome: PhaseOutcome) -> bool:
    return outcome.verdict is OutcomeVerdict.PARTIAL or _is_completion(outcome)


def _latest(outcomes: Iterable[PhaseOutcome]) -> list[PhaseOutcome]:
    """Return the latest outcome; several where they are of one time."""
    ordered = sorted(outcomes, key=_order)
    return [one for one in ordered if one.occurred_at == ordered[-1].occurred_at]


def _order(outcome: PhaseOutcome) -> tuple[datetime, str]:
    return outcome.occurred_at, outcome.fingerprint
