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

# A few milliseconds of work for this process, and no number of rows times out.
ROWS_PER_STATEMENT = 1_000

Value = TypeVar("Value")
Key = tuple[str, ...]  # the key columns
Statement = tuple[TextClause, dict[str, list[object]]]  # with its parameters


class Rows:
    """What updates say, merged by the key of its row."""

    def __init__(self) -> None:
        self.batch_ids: set[BatchId] = set()
        self._evidence: dict[Key, StepEvidence] = {}
        self._outcomes: dict[Key, PhaseOutcome] = {}
        self._registrations: dict[Key, BatchRegistration] = {}

    def add(self, update: BatchUpdate) -> None:
        """Take in an update."""
        batch_id = update.batch_id
        self.batch_ids.add(batch_id)
        for item in update.evidence:
            key: Key = (batch_id, item.essay_id, item.step, item.source)
            known = self._evidence.get(key)
            self._evidence[key] = merge_evidence(item.source, known, item.evidence)
        for outcome in update.outcomes:
            key = (batch_id, outcome.step, outcome.fingerprint)
            self._outcomes[key] = merge_outcome(self._outcomes.get(key), outcome)
        for one in update.registrations:
            key = (batch_id, one.fingerprint)
            self._registrations[key] = merge_registration(self._registrations.get(key), one)

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
    rows: Mapping[Key, Value],
    columns_of: Callable[[Value], tuple[object, ...]],
) -> Iterator[Statement]:
    keys = iter(sorted(rows))
    while some := list(islice(keys, ROWS_PER_STATEMENT)):
        columns = zip(*((*key, *columns_of(rows[key])) for key in some), strict=True)
        yield statement, dict(zip(names, map(list, columns), strict=True))


def _evidence_columns(one: StepEvidence) -> tuple[object, ...]:
    return one.status, one.occurred_at, one.storage_id


def _outcome_columns(one: PhaseOutcome) -> tuple[object, ...]:
    return one.occurred_at, one.status, one.verdict, one.reported_total


def _registration_columns(one: BatchRegistration) -> tuple[object, ...]:
    return one.occurred_at, one.repeated_at, one.essays_total, json.dumps(one.essay_ids)
