"""The JSON document of one essay, which others read, and which earlier versions kept batches in.

The first versions kept only `batch_id`, `completed_steps`, `step_metadata` and `created_at`, with
no time for each step. What they say is taken as the oldest evidence there can be: any event
outranks it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from batch_conductor_service.domain.standing import judge_essay
from batch_conductor_service.implementations.redis.batch_hash import KeptEssay
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
from batch_conductor_service.persisting.codec import (
    evidence_from,
    evidence_json,
    time_from,
    time_text,
)

OLDEST = datetime(1970, 1, 1, tzinfo=UTC)

# What the first versions wrote beside a step that is done; anything else there is a doubt.
_SUCCESS = frozenset({None, "completed", "completed_successfully", "success", "successful"})


def encode_document(essay: KeptEssay, now: datetime) -> bytes:
    """Return the document of an essay."""
    state = essay.state
    holds = {step: judge_essay(step, known.sources) for step, known in state.steps.items()}
    completed = ProcessingStepStatus.COMPLETED
    return orjson.dumps(
        {
            "essay_id": state.essay_id,
            "batch_id": state.batch_id,
            "completed_steps": sorted(s for s, e in holds.items() if e.status is completed),
            "step_metadata": {
                step: {
                    "status": holds[step].status.value,
                    "timestamp": _latest(known.sources),
                    "storage_id": holds[step].storage_id,
                    "sources": {s: evidence_json(e) for s, e in known.sources.items()},
                }
                for step, known in state.steps.items()
            },
            "created_at": essay.created_at or time_text(now),
            "last_updated": time_text(now),
        }
    )


class EssayDocument:
    """A document as it was read.

    `is_of_first_versions` says that its evidence has not reached Postgres.
    """

    def __init__(self, batch_id: BatchId, essay_id: EssayId, text: str) -> None:
        json = orjson.loads(text)
        if not isinstance(json, dict):
            raise TypeError("an essay document is an object")
        metadata = json.get("step_metadata") or {}
        self.created_at: str | None = json.get("created_at")
        self.is_of_first_versions = not (
            all("sources" in known for known in metadata.values())
            and set(json.get("completed_steps") or ()) <= metadata.keys()
        )
        read = _first_steps if self.is_of_first_versions else _steps
        self.state = EssayProcessingState(
            batch_id=batch_id, essay_id=essay_id, steps=read(json, metadata)
        )


def read_document(batch_id: BatchId, essay_id: EssayId, text: str | None) -> EssayDocument | None:
    """Return the document, or None where there is none that can be read."""
    if text is None:
        return None
    try:
        return EssayDocument(batch_id, essay_id, text)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _latest(sources: Mapping[str, StepEvidence]) -> str:
    return time_text(max(said.occurred_at for said in sources.values()))


def _steps(_: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[StepName, EssayStep]:
    return {
        StepName(step): EssayStep(
            sources={source: evidence_from(said) for source, said in known["sources"].items()}
        )
        for step, known in metadata.items()
    }


def _first_steps(json: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[StepName, EssayStep]:
    at = time_from(json["created_at"]) if json.get("created_at") else OLDEST
    return {
        StepName(step): EssayStep(sources={OBSERVED: _first_evidence(metadata.get(step), at)})
        for step in json.get("completed_steps") or ()
    }


def _first_evidence(known: object, at: datetime) -> StepEvidence:
    details = known if isinstance(known, dict) else {}
    said = {details.get(name) for name in ("status", "completion_status", "outcome")}
    status = ProcessingStepStatus.COMPLETED if said <= _SUCCESS else ProcessingStepStatus.FAILED
    return StepEvidence(status=status, occurred_at=at, storage_id=details.get("storage_id"))
