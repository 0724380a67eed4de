"""The JSON document of one essay, as this version writes it and as earlier versions wrote it.

Earlier versions kept only `batch_id`, `completed_steps`, `step_metadata` and `created_at`, with no
time for each step. What they say is taken as the oldest evidence there can be: any event outranks
it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from batch_conductor_service.codec import (
    evidence_from,
    evidence_json,
    time_from,
    time_text,
)
from batch_conductor_service.domain.merging import effective, storage_id_of
from batch_conductor_service.models import (
    OBSERVED,
    BatchId,
    EssayId,
    EssayProcessingState,
    EssayStep,
    ProcessingStepStatus,
    StepEvidence,
    StepName,
)

OLDEST = datetime(1970, 1, 1, tzinfo=UTC)

# What earlier versions wrote beside a step that is done; anything else there is a doubt.
_SUCCESS = frozenset({None, "completed", "completed_successfully", "success", "successful"})


def encode_document(essay: EssayProcessingState, *, created_at: str | None, now: datetime) -> bytes:
    """Return the document of an essay."""
    holds = {step: effective(known) for step, known in essay.steps.items()}
    completed = ProcessingStepStatus.COMPLETED
    return orjson.dumps(
        {
            "essay_id": essay.essay_id,
            "batch_id": essay.batch_id,
            "completed_steps": sorted(s for s, e in holds.items() if e.status is completed),
            "step_metadata": {
                step: {
                    "status": holds[step].status.value,
                    "timestamp": time_text(holds[step].occurred_at),
                    "storage_id": storage_id_of(known),
                    "sources": {s: evidence_json(e) for s, e in known.sources.items()},
                }
                for step, known in essay.steps.items()
            },
            "created_at": created_at or time_text(now),
            "last_updated": time_text(now),
        }
    )


class EssayDocument:
    """A document as it was read: the essay's state, and what writing it again must keep.

    `is_current` is false for a document of an earlier version: its evidence has not reached
    Postgres.
    """

    def __init__(self, batch_id: BatchId, essay_id: EssayId, text: str) -> None:
        json = orjson.loads(text)
        if not isinstance(json, dict):
            raise TypeError("an essay document is an object")
        metadata = json.get("step_metadata") or {}
        self.created_at: str | None = json.get("created_at")
        self.is_current = all("sources" in known for known in metadata.values()) and (
            set(json.get("completed_steps") or ()) <= metadata.keys()
        )
        steps = _steps(metadata) if self.is_current else _earlier_steps(json, metadata)
        self.state = EssayProcessingState(batch_id=batch_id, essay_id=essay_id, steps=steps)


def read_document(batch_id: BatchId, essay_id: EssayId, text: str | None) -> EssayDocument | None:
    """Return the document, or None where there is none that can be read."""
    if text is None:
        return None
    try:
        return EssayDocument(batch_id, essay_id, text)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _steps(metadata: Mapping[str, Any]) -> dict[StepName, EssayStep]:
    return {
        StepName(step): EssayStep(
            sources={source: evidence_from(said) for source, said in known["sources"].items()}
        )
        for step, known in metadata.items()
    }


def _earlier_steps(
    json: Mapping[str, Any], metadata: Mapping[str, Any]
) -> dict[StepName, EssayStep]:
    at = time_from(json["created_at"]) if json.get("created_at") else OLDEST
    return {
        StepName(step): EssayStep(sources={OBSERVED: _earlier_evidence(metadata.get(step), at)})
        for step in json.get("completed_steps") or ()
    }


def _earlier_evidence(known: object, at: datetime) -> StepEvidence:
    details = known if isinstance(known, dict) else {}
    said = {details.get(name) for name in ("status", "completion_status", "outcome")}
    status = ProcessingStepStatus.COMPLETED if said <= _SUCCESS else ProcessingStepStatus.FAILED
    return StepEvidence(status=status, occurred_at=at, storage_id=details.get("storage_id"))
