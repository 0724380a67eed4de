"""A batch as one Redis hash: what each field holds, and how it is read and written. No I/O.

The field `summary` alone answers a question. The others are the evidence it follows from: one for
each essay, outcome and registration.
"""

from collections.abc import Iterable, Iterator, Mapping
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
    """A summary as it is kept, with what tells whether it may be believed.

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
    """All evidence of a batch, its essays as they were read, and the other fields as they were."""

    state: BatchState
    essays: Mapping[EssayId, KeptEssay] = field(default_factory=dict)
    reports: Mapping[str, str] = field(default_factory=dict)


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


def decode_essay(batch_id: BatchId, essay_id: EssayId, text: str | None) -> KeptEssay:
    """Return the essay; one that is not kept is empty.

    Raises:
        ValueError: this version cannot read it.
    """
    try:
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
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError("not an essay of this version") from exc


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


def decode_batch(batch_id: BatchId, fields: Mapping[str, str]) -> KeptBatch:
    """Return the batch that the fields hold, without the summary.

    Raises:
        ValueError: this version cannot read a part of it.
    """
    essays = {}
    outcomes, registrations = [], []
    try:
        for name, text in fields.items():
            if name.startswith(_ESSAY):
                essay_id = EssayId(name.removeprefix(_ESSAY))
                essays[essay_id] = decode_essay(batch_id, essay_id, text)
            elif name.startswith(_OUTCOME):
                outcomes.append(outcome_from(orjson.loads(text)))
            elif name.startswith(_REGISTRATION):
                registrations.append(registration_from(orjson.loads(text)))
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError("not a batch of this version") from exc
    state = BatchState(batch_id)
    state.merge(
        BatchUpdate(batch_id=batch_id, outcomes=tuple(outcomes), registrations=tuple(registrations))
    )
    for essay in essays.values():
        state.merge_essay(essay.state)
    others = {name: text for name, text in fields.items() if not name.startswith(_ESSAY)}
    return KeptBatch(state=state, essays=essays, reports=others)


def encode_changes(
    kept: KeptBatch, created_at: datetime
) -> tuple[dict[str, str], dict[EssayId, KeptEssay]]:
    """Return the fields that are not as they were read, without the summary, and changed essays.

    Every member of the batch has a field, for its events to find that it counts.
    """
    members = kept.state.members() or frozenset()
    reports = encode_reports(kept.state.reports())
    fields = {name: text for name, text in reports.items() if kept.reports.get(name) != text}
    essays = {}
    for state in _each_place(kept, members):
        known = kept.essays.get(state.essay_id)
        essay = KeptEssay(
            state=state,
            created_at=(known and known.created_at) or time_text(created_at),
            is_member=state.essay_id in members,
        )
        field_name = essay_field(state.essay_id)
        if essay != known:
            fields[field_name] = encode_essay(essay)
            essays[state.essay_id] = essay
    return fields, essays


def _each_place(kept: KeptBatch, members: frozenset[EssayId]) -> Iterator[EssayProcessingState]:
    """Yield every essay that has a field, or is to get one: also one that was a member before."""
    unheard = set(members | kept.essays.keys())
    for state in kept.state.each_essay():
        unheard.discard(state.essay_id)
        yield state
    for essay_id in unheard:
        yield EssayProcessingState(batch_id=kept.state.batch_id, essay_id=essay_id)


def flat(fields: Mapping[str, str]) -> Iterable[str]:
    """Return the fields as the arguments of HSET."""
    return (part for pair in fields.items() for part in pair)


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
