"""How evidence is written outside the process: as JSON, times as UTC text of one width.

Batches in Redis and the queue to Postgres are written so.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from batch_conductor_service.models import (
    BatchId,
    BatchRegistration,
    BatchUpdate,
    EssayEvidence,
    EssayId,
    OutcomeVerdict,
    PhaseOutcome,
    ProcessingStepStatus,
    StepEvidence,
    StepName,
)

PAYLOAD_VERSION = 1  # of queue entries

Json = dict[str, Any]

_STATUSES = {status.value: status for status in ProcessingStepStatus}


class ForeignPayloadError(Exception):
    """A queue entry of a version that this one cannot read; another worker may."""


@lru_cache(maxsize=1024)  # all that one event says has one time, and is written in three places
def time_text(time: datetime) -> str:
    """Return the time as text, always 27 characters: equal order as text and as time."""
    utc = time if time.tzinfo is UTC else time.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def time_from(text: str) -> datetime:
    """Return the time that a text gives; one without a zone is UTC."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def evidence_json(evidence: StepEvidence) -> Json:
    """Return a statement as JSON; an absent storage id is left out."""
    json: Json = {"status": str(evidence.status), "at": time_text(evidence.occurred_at)}
    return json if evidence.storage_id is None else {**json, "storage_id": evidence.storage_id}


def evidence_from(json: Mapping[str, Any]) -> StepEvidence:
    """Return the statement that JSON holds."""
    return StepEvidence(
        status=_STATUSES[json["status"]],
        occurred_at=time_from(json["at"]),
        storage_id=json.get("storage_id"),
    )


def outcome_json(outcome: PhaseOutcome) -> Json:
    """Return an outcome as JSON."""
    return {
        "step": outcome.step,
        "fingerprint": outcome.fingerprint,
        "at": time_text(outcome.occurred_at),
        "status": outcome.status,
        "verdict": outcome.verdict.value,
        "total": outcome.reported_total,
    }


def outcome_from(json: Mapping[str, Any]) -> PhaseOutcome:
    """Return the outcome that JSON holds."""
    return PhaseOutcome(
        step=StepName(json["step"]),
        fingerprint=json["fingerprint"],
        occurred_at=time_from(json["at"]),
        status=json["status"],
        verdict=OutcomeVerdict(json["verdict"]),
        reported_total=json["total"],
    )


def registration_json(registration: BatchRegistration) -> Json:
    """Return a registration as JSON; ids that are not known are left out."""
    json: Json = {
        "fingerprint": registration.fingerprint,
        "at": time_text(registration.occurred_at),
        "repeated_at": time_text(registration.repeated_at),
        "total": registration.essays_total,
    }
    return {**json, "essay_ids": registration.essay_ids} if registration.essay_ids else json


def registration_from(json: Mapping[str, Any]) -> BatchRegistration:
    """Return the registration that JSON holds; earlier versions kept no repetition."""
    return BatchRegistration(
        fingerprint=json["fingerprint"],
        occurred_at=time_from(json["at"]),
        repeated_at=time_from(json.get("repeated_at", json["at"])),
        essays_total=json["total"],
        essay_ids=tuple(EssayId(essay_id) for essay_id in json.get("essay_ids", ())),
    )


def encode_update(update: BatchUpdate) -> bytes:
    """Return an update as the payload of a queue entry.

    The field `positions` is for workers of earlier versions, which refuse a payload without it.
    """
    return orjson.dumps(
        {
            "v": PAYLOAD_VERSION,
            "batch_id": update.batch_id,
            "evidence": [
                {
                    "essay": e.essay_id,
                    "step": e.step,
                    "source": e.source,
                    **evidence_json(e.evidence),
                }
                for e in update.evidence
            ],
            "outcomes": [outcome_json(outcome) for outcome in update.outcomes],
            "registrations": [registration_json(one) for one in update.registrations],
            "positions": [],
        }
    )


def decode_update(payload: bytes) -> BatchUpdate:
    """Return the update of a queue entry.

    Raises:
        ForeignPayloadError: it is of a version that this one cannot read.
        ValueError: the payload is not one.
    """
    try:
        json = orjson.loads(payload)
        if json["v"] != PAYLOAD_VERSION:
            raise ForeignPayloadError
        return BatchUpdate(
            batch_id=BatchId(json["batch_id"]),
            evidence=tuple(
                EssayEvidence(
                    essay_id=EssayId(item["essay"]),
                    step=StepName(item["step"]),
                    source=item["source"],
                    evidence=evidence_from(item),
                )
                for item in json["evidence"]
            ),
            outcomes=tuple(outcome_from(item) for item in json["outcomes"]),
            registrations=tuple(registration_from(item) for item in json["registrations"]),
        )
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError("the payload is no update") from exc
