"""A batch as one Redis hash: what each field holds, and how a transaction finds it. No I/O.

The field `summary` alone answers a question. The others are the evidence it follows from: one for
each essay, outcome and registration.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.summary import (
    SUMMARY,
    CurrentData,
    KeptSummary,
    decode_summary,
)
from batch_conductor_service.models import (
    BatchId,
    BatchUpdate,
    EssayId,
    EssayProcessingState,
    EssayStep,
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
)
from service_libs.redis.connections import RedisCommand, dict_of
from service_libs.timing import in_turns

_ESSAY, _OUTCOME, _REGISTRATION = "e:", "o:", "r:"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReading:
    """A batch as it was found.

    Attributes:
        has_earlier: whether an earlier version has written to it since it was imported.
        has_lane: whether another writer has its lane; asked with what an update touches.
        is_waiting: whether Postgres may not have all of it yet; asked with all of it.
    """

    batch: KeptBatch
    has_earlier: bool
    has_lane: bool = False
    is_waiting: bool = False

    def is_merged(self, current: CurrentData) -> bool:
        """Whether the evidence that was read is whole."""
        kept = self.batch.summary
        is_usable = self.batch.is_readable and not self.has_earlier
        return is_usable and kept is not None and current.is_merged(kept)

    def find_current(self, current: CurrentData) -> KeptSummary | None:
        """Return what is kept of the summary if it is current, as is what was read with it."""
        kept = self.batch.summary
        return kept if self.is_merged(current) and current.find_summary(kept) else None


def essay_field(essay_id: EssayId) -> str:
    """Return the field of an essay."""
    return _ESSAY + essay_id


def find_essay_ids(fields: Iterable[str]) -> list[EssayId]:
    """Return the essays that have a field among these."""
    return [EssayId(one.removeprefix(_ESSAY)) for one in fields if one.startswith(_ESSAY)]


def steps_json(state: EssayProcessingState) -> dict[StepName, Json]:
    """Return what is said of an essay, by step and source, as JSON."""
    return {
        name: {source: evidence_json(said) for source, said in step.sources.items()}
        for name, step in state.steps.items()
    }


def encode_essay(essay: KeptEssay, steps: Mapping[StepName, Json]) -> str:
    """Return the essay as it is kept, with `steps_json` of its state."""
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
    summary = decode_summary(fields.get(SUMMARY))
    try:
        return _decode_evidence(batch_id, summary, fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        return KeptBatch(summary=summary, state=BatchState(batch_id), is_readable=False)


def touched_commands(update: BatchUpdate) -> list[RedisCommand]:
    """Return the commands that read the summary, and what the update touches."""
    batch_id = update.batch_id
    return [
        ("HMGET", keys.batch(batch_id), *_touched_fields(update)),
        ("EXISTS", keys.earlier_summary(batch_id)),
        ("EXISTS", keys.lane(batch_id)),
    ]


def parse_touched(update: BatchUpdate, replies: Iterator[Any]) -> BatchReading:
    """Take the replies to `touched_commands` from the iterator."""
    fields = dict(zip(_touched_fields(update), next(replies), strict=True))
    return BatchReading(
        batch=decode_batch(update.batch_id, fields),
        has_earlier=bool(next(replies)),
        has_lane=bool(next(replies)),
    )


def all_commands(batch_ids: Iterable[BatchId]) -> list[RedisCommand]:
    """Return the commands that read all of the batches, and what of them waits."""
    commands: list[RedisCommand] = [
        ("HGET", keys.PERSISTENCE_WAITING, keys.WAITING_OF_ALL),
        ("XLEN", keys.PERSISTENCE_QUEUE),
    ]
    for batch_id in batch_ids:
        commands += [
            ("HGETALL", keys.batch(batch_id)),
            ("EXISTS", keys.earlier_summary(batch_id)),
            ("HEXISTS", keys.PERSISTENCE_WAITING, batch_id),
        ]
    return commands


async def parse_all(
    batch_ids: Iterable[BatchId], replies: Iterator[Any]
) -> Mapping[BatchId, BatchReading]:
    """Take the replies to `all_commands` from the iterator."""
    counted, queued = next(replies), next(replies)
    # Where the counts of what waits are lost themselves, anything may wait.
    is_counted = int(counted or 0) == queued
    return {
        batch_id: BatchReading(
            batch=decode_batch(batch_id, dict_of(next(replies))),
            has_earlier=bool(next(replies)),
            is_waiting=bool(next(replies)) or not is_counted,
        )
        async for batch_id in in_turns(batch_ids)
    }


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
    if text is None:
        return KeptEssay(state=EssayProcessingState(batch_id=batch_id, essay_id=essay_id))
    json = orjson.loads(text)
    steps = {
        StepName(name): EssayStep(sources={s: evidence_from(e) for s, e in sources.items()})
        for name, sources in json["steps"].items()
    }
    return KeptEssay(
        state=EssayProcessingState(batch_id=batch_id, essay_id=essay_id, steps=steps),
        created_at=json.get("created_at"),
        is_member=json.get("member", False),
    )


def _touched_fields(update: BatchUpdate) -> list[str]:
    """Return the summary's field, and one for each essay that something is said about.

    An outcome or a registration touches all of the batch, so then all of it is read, later.
    """
    if update.outcomes or update.registrations:
        return [SUMMARY]
    return [SUMMARY, *dict.fromkeys(essay_field(item.essay_id) for item in update.evidence)]


def _text(json: Json) -> str:
    return orjson.dumps(json).decode()
