"""What is known of a batch, as facts that a person can compare: subject -> what is said of it.

Pure; imports only the standard library.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from batch_conductor_service.models import (
    OBSERVED,
    BatchCompletionSummary,
    BatchUpdate,
    StepCompletionSummary,
    StepName,
)

Facts = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCounts:
    """A row of `processing_pipeline_state`."""

    completed: int
    failed: int
    essays_total: int | None
    last_observed_at: datetime | None


def statement_facts(update: BatchUpdate) -> Facts:
    """Return one fact for each statement."""
    facts = {}
    for item in update.evidence:
        source = "own event" if item.source == OBSERVED else f"reported by {item.source}"
        stored = f", stored as {item.evidence.storage_id}" if item.evidence.storage_id else ""
        facts[f"{item.step} of {item.essay_id}, {source}"] = (
            f"{item.evidence.status} at {_time(item.evidence.occurred_at)}{stored}"
        )
    for outcome in update.outcomes:
        facts[f"outcome of {outcome.step}, {outcome.fingerprint}"] = (
            f"{outcome.status} ({outcome.verdict}, {outcome.reported_total} essays)"
            f" at {_time(outcome.occurred_at)}"
        )
    for registration in update.registrations:
        facts[f"registration, {registration.fingerprint}"] = (
            f"{registration.essays_total} essays, {len(registration.essay_ids)} of them named,"
            f" at {_time(registration.occurred_at)}, again at {_time(registration.repeated_at)}"
        )
    return facts


def summary_facts(summary: BatchCompletionSummary) -> Facts:
    """Return one fact for each step, and one for the number of essays."""
    totals = (
        f"{summary.registered_total} registered, {summary.reported_total} reported"
        f", {summary.essays_known} known, {'only named' if summary.names_essays else 'all'} count"
        f", unreadable at {_time(summary.unreadable_at)}"
    )
    counts = {f"counts of {name}": _step(step) for name, step in summary.steps.items()}
    return {"number of essays": totals, **counts}


def count_facts(counts: Mapping[StepName, StepCounts]) -> Facts:
    """Return one fact for each row."""
    return {
        f"counts of {name}": (
            f"{row.completed} completed, {row.failed} failed of {row.essays_total}"
            f", last at {_time(row.last_observed_at)}"
        )
        for name, row in counts.items()
    }


def _step(step: StepCompletionSummary) -> str:
    outcome = f"{step.outcome.status} at {_time(step.outcome.occurred_at)}" if step.outcome else "-"
    together = ", ".join(_time(one.occurred_at) for one in step.completions) or "-"
    return (
        f"{step.completed} completed, {step.failed} failed, {step.outdated} outdated"
        f", {step.unreadable} unreadable, {step.covered} covered by {together}"
        f", last at {_time(step.last_observed_at)}, completed at {_time(step.last_completed_at)}"
        f", refuted at {_time(step.refuted_at)}, unreadable at {_time(step.unreadable_at)}"
        f", outcome {outcome}"
    )


def _time(time: datetime | None) -> str:
    return time.isoformat().replace("+00:00", "Z") if time else "-"
