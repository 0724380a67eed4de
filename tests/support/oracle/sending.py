"""Records as neighbours send them, from drafts that a history may disturb before they are sent."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from tests.support.oracle.statements import Record
from tests.support.oracle.wire import (
    CJ,
    CJ_TOPIC,
    EVENT_NAMES,
    OUTCOME_TOPIC,
    REGISTERED_TOPIC,
    SPELLCHECK_TOPIC,
)

BATCH = "the-batch"
MINUTE = 60_000  # milliseconds
STEP = 10 * MINUTE
BEGIN = int(datetime(2026, 11, 25, 23, tzinfo=UTC).timestamp() * 1000)  # step 6 is midnight

RIGHT_STYLES = (
    "offset",
    "offset",
    "Z",
    "z",
    "naive",
    "two_hours",
    "no_seconds",
    "midnight",
    "leap",
)
WRONG_STYLES = ("date", "week", "hour", "basic")


@dataclass(frozen=True, kw_only=True)
class Draft:
    """An event that is about to be sent.

    `run` is what its correlation id is made of. `said_ms` is the time in its data, `sent_ms` its
    envelope's, `record_ms` Kafka's, and `consumed_ms` is when we take it: they differ where a clock
    is off or a relay sends again.
    """

    topic: str
    key: str | None
    data: dict[str, Any]
    said_ms: int
    sent_ms: int
    record_ms: int
    consumed_ms: int
    run: str | None = "run"
    style: str = "offset"
    envelope: dict[str, Any] = field(default_factory=dict)

    def shifted(self, sender: int = 0, record: int = 0, ours: int = 0) -> "Draft":
        """Return the draft with these clocks off by so many milliseconds."""
        return replace(
            self,
            said_ms=self.said_ms + sender,
            sent_ms=self.sent_ms + sender,
            record_ms=self.record_ms + record,
            consumed_ms=self.consumed_ms + ours,
        )

    def again(self, moment: int) -> "Draft":
        """Return a relay's copy: the same data under a new envelope, at that time."""
        return replace(self, sent_ms=moment, record_ms=moment, consumed_ms=moment + 1000)

    def to_record(self, rng: Random) -> Record:
        """Return the record; its envelope has an id of its own."""
        content = {
            "event_id": str(UUID(int=rng.getrandbits(128), version=4)),
            "event_type": EVENT_NAMES[self.topic],
            "event_timestamp": format_time(self.sent_ms, self.style),
            "source_service": "a_service",
            "schema_version": 1,
            "correlation_id": str(uuid5(NAMESPACE_URL, self.run or "")),
            "data": self._timed_data(),
        }
        return Record(
            topic=self.topic,
            key=None if self.key is None else self.key.encode(),
            value=json.dumps(content | self.envelope).encode(),
            sent_ms=self.record_ms,
            consumed_ms=self.consumed_ms,
        )

    def _timed_data(self) -> dict[str, Any]:
        said = format_time(self.said_ms, self.style)
        if self.topic in (SPELLCHECK_TOPIC, CJ_TOPIC):
            return {"timestamp": said} | self.data
        if self.topic == REGISTERED_TOPIC and isinstance(self.data.get("metadata"), dict):
            return self.data | {"metadata": {"timestamp": said} | self.data["metadata"]}
        return self.data


def format_time(moment_ms: int, style: str) -> str:
    """Write a time in one of the ways that senders have; some styles are no times."""
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    text = moment.replace(tzinfo=None).isoformat()
    if style in ("midnight", "leap") and moment_ms % (1440 * MINUTE) == 0:
        day = moment - timedelta(days=1)
        return f"{day:%Y-%m-%d}T{'24:00:00' if style == 'midnight' else '23:59:60'}Z"
    if style == "no_seconds" and moment_ms % MINUTE == 0:
        return f"{text[:16]}Z"
    written = {
        "two_hours": moment.astimezone(timezone(timedelta(hours=2))).isoformat(),
        "Z": f"{text}Z",
        "z": f"{text}z",
        "naive": text,
        "date": text[:10],
        "week": f"{moment:%G-W%V-%u}T12:00Z",
        "hour": text[:13],
        "basic": f"{moment:%Y%m%dT%H%M%SZ}",
    }
    return written.get(style, f"{text}+00:00")


def at(step: float) -> int:
    """Return the time of a step of the history, in milliseconds."""
    return BEGIN + int(step * STEP)


def _draft(
    topic: str, key: str, data: dict[str, Any], step: float, run: str | None = "run"
) -> Draft:
    moment = at(step)
    return Draft(
        topic=topic,
        key=key,
        data=data,
        said_ms=moment,
        sent_ms=moment,
        record_ms=moment,
        consumed_ms=moment + 1000,
        run=run,
    )


def registered(count: int, essays: list[str], step: float, run: str | None = "reg") -> Draft:
    """Return a registration; without a run it has no metadata, and its time is its envelope's."""
    data: dict[str, Any] = {
        "event": "batch.essays.registered",
        "entity_id": BATCH,
        "expected_essay_count": count,
        "essay_ids": essays,
        "course_code": "ENG5",
        "metadata": None if run is None else {"correlation_id": run},
    }
    return _draft(REGISTERED_TOPIC, BATCH, data, step, run)


def spellchecked(essay: str, step: float, status: str = "completed", text: str = "a") -> Draft:
    """Return an essay's own word."""
    data = {
        "entity_id": essay,
        "batch_id": BATCH,
        "correlation_id": "c",
        "status": status,
        "corrected_text_storage_id": text if status == "completed" else None,
        "error_code": None if status == "completed" else "E",
        "processing_duration_ms": 3,
    }
    return _draft(SPELLCHECK_TOPIC, essay, data, step)


def assessed(
    essays: list[str],
    step: float,
    failed: list[str] | None = None,
    status: str = "completed_successfully",
) -> Draft:
    """Return the end of a comparative judgement."""
    failed = failed or []
    data = {
        "event_name": "cj_assessment.completed",
        "entity_id": BATCH,
        "entity_type": "batch",
        "parent_id": None,
        "status": status,
        "system_metadata": {},
        "cj_assessment_job_id": "job",
        "processing_summary": {
            "total_essays": len(essays) + len(failed),
            "successful": len(essays),
            "failed": len(failed),
            "successful_essay_ids": essays,
            "failed_essay_ids": failed,
            "processing_time_seconds": 1.5,
        },
    }
    return _draft(CJ_TOPIC, BATCH, data, step)


def phase_ended(
    phase: str,
    essays: list[str],
    step: float,
    failed: list[str] | None = None,
    status: str | None = None,
    run: str | None = "run",
) -> Draft:
    """Return a phase's outcome; its status follows from who failed, unless it is given."""
    implied = "completed_with_failures" if failed else "completed_successfully"
    data = {
        "batch_id": BATCH,
        "phase_name": phase,
        "phase_status": status or implied,
        "processed_essays": [
            {"essay_id": each, "text_storage_id": f"{phase}-{each}"} for each in essays
        ],
        "failed_essay_ids": failed or [],
        "correlation_id": run,
    }
    return _draft(OUTCOME_TOPIC, BATCH, data, step, run)


def essay_names(count: int) -> list[str]:
    """Return `e1` to `e<count>`."""
    return [f"e{number}" for number in range(1, count + 1)]


def all_done(count: int) -> list[Draft]:
    """Return the history of a batch in which everything went well."""
    essays = essay_names(count)
    return [
        registered(count, essays, 0),
        *(spellchecked(each, 1) for each in essays),
        phase_ended("spellcheck", essays, 1.5),
        assessed(essays, 2),
        phase_ended(CJ, essays, 2.5),
        phase_ended("nlp", essays, 2),
        phase_ended("ai_feedback", essays, 3),
    ]
