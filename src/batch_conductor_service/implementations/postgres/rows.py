"""Updates as rows: each key once, as the upserts need it, and in one order, against deadlocks."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from sqlalchemy import TextClause

from batch_conductor_service.domain.statements import (
    merge_evidence,
    merge_outcome,
    merge_registration,
)
from batch_conductor_service.implementations.postgres import sql
from batch_conductor_service.models import (
    BatchId,
    BatchRegistration,
    BatchUpdate,
    PhaseOutcome,
    StepEvidence,
)

# A few milliseconds of work for this process, which has others to answer, and for no number of
# rows a time-out.
ROWS_PER_STATEMENT = 500

Value = TypeVar("Value")
Key = tuple[str, ...]  # the key columns
Statement = tuple[TextClause, dict[str, list[object]]]  # with its parameters


class Rows:
    """What updates say, merged by the key of its row."""

    def __init__(self) -> None:
        self._evidence: dict[BatchId, dict[Key, StepEvidence]] = {}
        self._outcomes: dict[BatchId, dict[Key, PhaseOutcome]] = {}
        self._registrations: dict[BatchId, dict[Key, BatchRegistration]] = {}

    def add(self, update: BatchUpdate) -> None:
        """Take in an update."""
        batch_id = update.batch_id
        evidence = self._evidence.setdefault(batch_id, {})
        for item in update.evidence:
            key: Key = (batch_id, item.essay_id, item.step, item.source)
            evidence[key] = merge_evidence(item.source, evidence.get(key), item.evidence)
        outcomes = self._outcomes.setdefault(batch_id, {})
        for outcome in update.outcomes:
            key = (batch_id, outcome.step, outcome.fingerprint)
            outcomes[key] = merge_outcome(outcomes.get(key), outcome)
        registrations = self._registrations.setdefault(batch_id, {})
        for one in update.registrations:
            key = (batch_id, one.fingerprint)
            registrations[key] = merge_registration(registrations.get(key), one)

    @property
    def batch_ids(self) -> list[BatchId]:
        """The batches that something was said of, sorted."""
        return sorted(self._evidence)

    def compose_merges(self) -> Iterator[Statement]:
        """Yield the statements that merge the rows into the tables, sorted by key."""
        yield from _compose(sql.MERGE_EVIDENCE, _EVIDENCE, self._evidence, _evidence_columns)
        yield from _compose(sql.MERGE_OUTCOMES, _OUTCOMES, self._outcomes, _outcome_columns)
        yield from _compose(
            sql.MERGE_REGISTRATIONS, _REGISTRATIONS, self._registrations, _registration_columns
        )


_EVIDENCE = ("batch_ids", "essay_ids", "step_names", "sources", "statuses", "times", "storage_ids")
_OUTCOMES = (
    *("batch_ids", "step_names", "fingerprints"),
    *("times", "statuses", "verdicts", "reported_totals"),
)
_REGISTRATIONS = (
    *("batch_ids", "fingerprints"),
    *("times", "repeated", "essays_totals", "essay_ids"),
)


def _compose(
    statement: TextClause,
    names: Sequence[str],
    batches: Mapping[BatchId, Mapping[Key, Value]],
    columns_of: Callable[[Value], tuple[object, ...]],
) -> Iterator[Statement]:
    rows = (
        (*key, *columns_of(one))
        for batch_id in sorted(batches)
        for key, one in sorted(batches[batch_id].items(), key=_by_key)
    )
    while some := list(islice(rows, ROWS_PER_STATEMENT)):
        columns = zip(*some, strict=True)
        yield statement, dict(zip(names, map(list, columns), strict=True))


def _by_key(row: tuple[Key, object]) -> Key:
    return row[0]


def _evidence_columns(one: StepEvidence) -> tuple[object, ...]:
    return one.status, one.occurred_at, one.storage_id


def _outcome_columns(one: PhaseOutcome) -> tuple[object, ...]:
    return one.occurred_at, one.status, one.verdict, one.reported_total


def _registration_columns(one: BatchRegistration) -> tuple[object, ...]:
    return one.occurred_at, one.repeated_at, one.essays_total, json.dumps(one.essay_ids)
