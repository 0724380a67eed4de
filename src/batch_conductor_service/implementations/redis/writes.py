"""The single commands that plans are made of."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import orjson

from batch_conductor_service.codec import outcome_json, registration_json, time_text
from batch_conductor_service.implementations.redis import keys, readings
from batch_conductor_service.implementations.redis.documents import EssayDocument, encode_document
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchRegistration,
    EssayProcessingState,
    PhaseOutcome,
    StepCompletionSummary,
    StepName,
)
from batch_conductor_service.port_values import RedisCommand


def _outcome_field(outcome: PhaseOutcome) -> str:
    return f"{outcome.step} {outcome.fingerprint}"


def summary_fields(summary: BatchCompletionSummary, *, is_whole: bool) -> dict[str, str]:
    """Return the fields of the summary hash, but for the sizes."""
    fields = {
        readings.WHOLE: "1" if is_whole else "0",
        readings.REGISTERED_TOTAL: _text(summary.registered_total),
        readings.REPORTED_TOTAL: _text(summary.reported_total),
    }
    for name, step in summary.steps.items():
        fields |= _step_fields(name, step)
    return fields


def _step_fields(name: StepName, step: StepCompletionSummary) -> dict[str, str]:
    fields = {
        f"{readings.COMPLETED}:{name}": str(step.completed),
        f"{readings.FAILED}:{name}": str(step.failed),
    }
    if step.last_observed_at is not None:
        fields[f"{readings.OBSERVED_AT}:{name}"] = time_text(step.last_observed_at)
    if step.refuted_at is not None:
        fields[f"{readings.REFUTED_AT}:{name}"] = time_text(step.refuted_at)
    if step.outcome is not None:
        text = orjson.dumps(outcome_json(step.outcome)).decode()
        fields[f"{readings.OUTCOME}:{name}"] = text
    return fields


def set_fields(batch_id: BatchId, fields: Mapping[str, str]) -> list[RedisCommand]:
    """Return the commands that set fields of the summary, and the counts among them."""
    prefix = f"{readings.COMPLETED}:"
    counts = {f.removeprefix(prefix): count for f, count in fields.items() if f.startswith(prefix)}
    commands: list[RedisCommand] = [_hset(keys.batch_summary(batch_id), fields)]
    if counts:
        commands.append(_hset(keys.pipeline_state(batch_id), counts))
    return commands


def set_outcomes(batch_id: BatchId, outcomes: Iterable[PhaseOutcome]) -> list[RedisCommand]:
    """Return the command that keeps the outcomes; none without any."""
    texts = {_outcome_field(o): orjson.dumps(outcome_json(o)).decode() for o in outcomes}
    return [_hset(keys.batch_outcomes(batch_id), texts)] if texts else []


def set_registrations(
    batch_id: BatchId, registrations: Iterable[BatchRegistration]
) -> list[RedisCommand]:
    """Return the command that keeps the registrations; none without any."""
    texts = {r.fingerprint: orjson.dumps(registration_json(r)).decode() for r in registrations}
    return [_hset(keys.batch_registrations(batch_id), texts)] if texts else []


def set_document(
    essay: EssayProcessingState, known: EssayDocument | None, ttl_seconds: int, now: datetime
) -> RedisCommand:
    """Return the command that writes the document of an essay."""
    created_at = known.created_at if known else None
    document = encode_document(essay, created_at=created_at, now=now)
    key = keys.essay_state(essay.batch_id, essay.essay_id)
    return ("SET", key, document, "EX", ttl_seconds)


def renew_batch(batch_id: BatchId, ttl_seconds: int) -> list[RedisCommand]:
    """Return the commands after which all keys of the batch live for the full time again."""
    return [("EXPIRE", key, ttl_seconds) for key in keys.batch_keys(batch_id)]


def add_members(key: str, members: Sequence[str]) -> list[RedisCommand]:
    """Return the command that adds to a set; none without members."""
    return [("SADD", key, *members)] if members else []


def _hset(key: str, fields: Mapping[str, str]) -> RedisCommand:
    return ("HSET", key, *(part for pair in fields.items() for part in pair))


def _text(number: int | None) -> str:
    return "" if number is None else str(number)
