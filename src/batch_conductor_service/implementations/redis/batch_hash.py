"""A batch as one Redis hash: what each field holds, and how it is read and written. No I/O.

The field `summary` alone answers a question. The others are the evidence it follows from: one for
each essay, outcome and registration.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchUpdate,
    EssayId,
    EssayProcessingState,
    EssayStep,
    StepCompletionSummary,
    StepName,
)
from batch_conductor_service.persisting.codec import (
    Json,
    evidence_from,
    evidence_json,
    outcome_from,
    outcome_json,
    registration_from,
    registration_json,
    time_from,
    time_text,
)

SUMMARY = "summary"
VERSION = 1  # of the summary; one of another version is made again from the evidence

_ESSAY, _OUTCOME, _REGISTRATION = "e:", "o:", "r:"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSummary:
    """A summary as it is kept, with what decides whether it is current (`CurrentData`).

    Attributes:
        server_run: the data in which the batch was last merged with the archive; empty where there
            was none.
        dependencies: the version of the dependencies that the essays were counted by.
    """

    summary: BatchCompletionSummary
    server_run: str
    dependencies: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEssay:
    """An essay as it is kept; `is_member` says that the registration in force names it."""

    state: EssayProcessingState
    created_at: str | None = None
    is_member: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBatch:
    """What was read of a batch's hash: all of it, or only what an update touches.

    Attributes:
        summary: None where there is none that this version can read.
        state: the evidence; none at all where this version cannot read a part of it.
        essays: each as it was read; one that is not kept is empty.
        reports: the fields that are of no essay, as they were read.
        is_readable: whether this version can read all of it.
    """

    summary: KeptSummary | None
    state: BatchState
    essays: Mapping[EssayId, KeptEssay] = field(default_factory=dict)
    reports: Mapping[str, str] = field(default_factory=dict)
    is_readable: bool = True

    @property
    def is_known(self) -> bool:
        """Whether anything is kept, of a batch of which all was read."""
        return bool(self.essays or self.reports) or not self.is_readable


def essay_field(essay_id: EssayId) -> str:
    """Return the field of an essay."""
    return _ESSAY + essay_id


def find_essay_ids(fields: Iterable[str]) -> list[EssayId]:
    """Return the essays that have a field among these."""
    return [EssayId(one.removeprefix(_ESSAY)) for one in fields if one.startswith(_ESSAY)]


def encode_summary(kept: KeptSummary) -> str:
    """Return the summary as it is kept."""
    summary = kept.summary
    return _text(
        {
            "v": VERSION,
            "run": kept.server_run,
            "dependencies": kept.dependencies,
            "whole": summary.is_whole,
            "registered": summary.registered_total,
            "reported": summary.reported_total,
            "named": summary.names_essays,
            "unreadable_at": _time_or_none(summary.unreadable_at),
            "known": summary.essays_known,
            "steps": {name: _encode_step(step) for name, step in summary.steps.items()},
        }
    )


def decode_summary(batch_id: BatchId, text: str | None) -> KeptSummary | None:
    """Return the summary, or None where there is none that this version can read."""
    try:
        json = orjson.loads(text or "null")
        if json is None or json["v"] != VERSION:
            return None
        summary = BatchCompletionSummary(
            batch_id=batch_id,
            registered_total=json["registered"],
            reported_total=json["reported"],
            names_essays=json["named"],
            unreadable_at=_time_from(json["unreadable_at"]),
            essays_known=json["known"],
            steps={StepName(name): _decode_step(step) for name, step in json["steps"].items()},
            is_whole=json["whole"],
        )
        return KeptSummary(
            summary=summary, server_run=json["run"], dependencies=json["dependencies"]
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def encode_essay(essay: KeptEssay) -> str:
    """Return the essay as it is kept."""
    steps = {
        name: {source: evidence_json(said) for source, said in step.sources.items()}
        for name, step in essay.state.steps.items()
    }
    return _text({"steps": steps, "created_at": essay.created_at, "member": essay.is_member})


def encode_reports(update: BatchUpdate) -> dict[str, str]:
    """Return the fields of the outcomes and registrations."""
    outcomes = {
        f"{_OUTCOME}{o.step}:{o.fingerprint}": _text(outcome_json(o)) for o in update.outcomes
    }
    registrations = {
        f"{_REGISTRATION}{one.fingerprint}": _text(registration_json(one))
        for one in update.registrations
    }
    return outcomes | registrations


def decode_batch(batch_id: BatchId, fields: Mapping[str, str | None]) -> KeptBatch:
    """Return what the fields hold; an essay's field may be empty."""
    summary = decode_summary(batch_id, fields.get(SUMMARY))
    try:
        return _decode_evidence(batch_id, summary, fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        return KeptBatch(summary=summary, state=BatchState(batch_id), is_readable=False)


def _decode_evidence(
    batch_id: BatchId, summary: KeptSummary | None, fields: Mapping[str, str | None]
) -> KeptBatch:
    essays, reports, outcomes, registrations = {}, {}, [], []
    for name, text in fields.items():
        if name.startswith(_ESSAY):
            essay_id = EssayId(name.removeprefix(_ESSAY))
            essays[essay_id] = _decode_essay(batch_id, essay_id, text)
            continue
        reports[name] = text or ""
        if name.startswith(_OUTCOME):
            outcomes.append(outcome_from(orjson.loads(reports[name])))
        elif name.startswith(_REGISTRATION):
            registrations.append(registration_from(orjson.loads(reports[name])))
    state = BatchState(batch_id)
    state.merge(
        BatchUpdate(batch_id=batch_id, outcomes=tuple(outcomes), registrations=tuple(registrations))
    )
    for essay in essays.values():
        state.merge_essay(essay.state)
    return KeptBatch(summary=summary, state=state, essays=essays, reports=reports)


def _decode_essay(batch_id: BatchId, essay_id: EssayId, text: str | None) -> KeptEssay:
    json = orjson.loads('{"steps":{}}' if text is None else text)
    steps = {
        StepName(name): EssayStep(sources={s: evidence_from(e) for s, e in sources.items()})
        for name, sources in json["steps"].items()
    }
    return KeptEssay(
        state=EssayProcessingState(batch_id=batch_id, essay_id=essay_id, steps=steps),
        created_at=json.get("created_at"),
        is_member=json.get("member", False),
    )


def _encode_step(step: StepCompletionSummary) -> Json:
    return {
        "counts": [step.completed, step.failed, step.outdated, step.unreadable, step.covered],
        "observed_at": _time_or_none(step.last_observed_at),
        "completed_at": _time_or_none(step.last_completed_at),
        "refuted_at": _time_or_none(step.refuted_at),
        "unreadable_at": _time_or_none(step.unreadable_at),
        "needs_own": step.needs_own,
        "confirmed": step.is_confirmed,
        "outcome": outcome_json(step.outcome) if step.outcome else None,
        "completions": [outcome_json(one) for one in step.completions],
    }


def _decode_step(json: Mapping[str, Any]) -> StepCompletionSummary:
    completed, failed, outdated, unreadable, covered = json["counts"]
    return StepCompletionSummary(
        completed=completed,
        failed=failed,
        outdated=outdated,
        unreadable=unreadable,
        covered=covered,
        last_observed_at=_time_from(json["observed_at"]),
        last_completed_at=_time_from(json["completed_at"]),
        refuted_at=_time_from(json["refuted_at"]),
        unreadable_at=_time_from(json["unreadable_at"]),
        needs_own=json["needs_own"],
        is_confirmed=json["confirmed"],
        outcome=outcome_from(json["outcome"]) if json["outcome"] else None,
        completions=tuple(map(outcome_from, json["completions"])),
    )


def _text(json: Json) -> str:
    return orjson.dumps(json).decode()


def _time_or_none(time: datetime | None) -> str | None:
    return time_text(time) if time else None


def _time_from(text: str | None) -> datetime | None:
    return time_from(text) if text else None
