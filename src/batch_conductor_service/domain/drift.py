"""Where Redis and Postgres say different things of one batch, and what is right.

Right is what both sides and the queue say together, merged by `BatchState`: merging loses nothing
and does not depend on the order, so no side can be right against it. Pure; imports only the
standard library.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.drift_texts import (
    Facts,
    StepCounts,
    count_facts,
    statement_facts,
    summary_facts,
)
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.domain.resolution import essays_total
from batch_conductor_service.models import BatchCompletionSummary, BatchId, BatchUpdate, StepName


class Place(StrEnum):
    """Where something is said."""

    REDIS = "redis"
    POSTGRES = "postgres"
    QUEUE = "queue"
    EVIDENCE = "evidence"  # said nowhere: it follows from what is


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedBatch:
    """A batch as Redis alone has it.

    Attributes:
        summary: what an answer would be made from; None when it would not be made from Redis alone.
        faults: what Redis by itself shows to be wrong.
        is_current: whether Redis holds the batch for merged with Postgres, as of now.
    """

    state: BatchState
    summary: BatchCompletionSummary | None
    faults: tuple[str, ...] = ()
    is_current: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedBatch:
    """A batch as Postgres alone has it: its evidence, and the counts kept beside it."""

    state: BatchState
    counts: Mapping[StepName, StepCounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that one place has wrong.

    `says` is None where the place knows nothing of it, `right` where nothing should be known;
    `known_by` is who has it right.
    """

    place: Place
    subject: str
    says: str | None
    right: str | None
    known_by: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchComparison:
    """What differs for one batch.

    Attributes:
        missing: what Redis or Postgres lacks; merging it into both mends the evidence.
        is_cached: whether Redis has anything of the batch.
        is_current: whether answers are made from Redis alone. A batch that Redis has forgotten, or
            has to merge with Postgres first, is no difference.
        is_known: whether anybody has heard of the batch.
    """

    batch_id: BatchId
    differences: tuple[Difference, ...]
    missing: BatchUpdate
    is_cached: bool
    is_current: bool
    is_known: bool


def compare(
    batch_id: BatchId,
    cached: CachedBatch | None,
    archived: ArchivedBatch | None,
    queued: Sequence[BatchUpdate] = (),
    *,
    dependencies: StepDependencies,
) -> BatchComparison:
    """Compare what is known of a batch; `archived` is None where Postgres is not in use.

    What is queued counts as said by Postgres: it is on its way.
    """
    nothing = BatchUpdate(batch_id=batch_id)
    in_redis = cached.state.as_update() if cached else nothing
    in_postgres = archived.state.as_update() if archived else nothing
    held = merged(batch_id, in_postgres, *queued)
    truth = merged(batch_id, in_redis, held.as_update())
    right = truth.summarise(dependencies)
    current = cached if cached and (cached.is_current or archived is None) else None
    redis_lacks = _lacking(in_redis, truth) if current else nothing
    postgres_lacks = _lacking(held.as_update(), truth) if archived else nothing
    differences: list[Difference] = []
    if current:
        differences += _list_lacking(Place.REDIS, redis_lacks, in_redis, in_postgres)
        differences += _compare_cache(current, right)
    if archived:
        differences += _list_lacking(Place.POSTGRES, postgres_lacks, held.as_update(), in_redis)
        differences += _compare_counts(archived, right, dependencies)
    return BatchComparison(
        batch_id=batch_id,
        differences=tuple(differences),
        missing=merged(batch_id, redis_lacks, postgres_lacks).as_update(),
        is_cached=cached is not None,
        is_current=current is not None,
        is_known=cached is not None or truth.as_update() != nothing,
    )


def merged(batch_id: BatchId, *updates: BatchUpdate) -> BatchState:
    """Return what the updates, all of that batch, say together."""
    state = BatchState(batch_id)
    for update in updates:
        state.merge(update)
    return state


def _lacking(known: BatchUpdate, truth: BatchState) -> BatchUpdate:
    """Return what of the truth `known` has not, or has otherwise."""
    right = truth.as_update()
    has = {*known.evidence, *known.outcomes, *known.registrations}
    return BatchUpdate(
        batch_id=known.batch_id,
        evidence=tuple(item for item in right.evidence if item not in has),
        outcomes=tuple(item for item in right.outcomes if item not in has),
        registrations=tuple(item for item in right.registrations if item not in has),
    )


def _list_lacking(
    place: Place, lacking: BatchUpdate, here: BatchUpdate, there: BatchUpdate
) -> Iterator[Difference]:
    says, elsewhere = statement_facts(here), statement_facts(there)
    other = Place.POSTGRES if place is Place.REDIS else Place.REDIS
    for subject, right in statement_facts(lacking).items():
        yield Difference(
            place=place,
            subject=subject,
            says=says.get(subject),
            right=right,
            known_by=other if elsewhere.get(subject) == right else Place.QUEUE,
        )


def _compare_cache(cached: CachedBatch, right: BatchCompletionSummary) -> Iterator[Difference]:
    for fault in cached.faults:
        yield Difference(
            place=Place.REDIS,
            subject="integrity",
            says=fault,
            right=None,
            known_by=Place.EVIDENCE,
        )
    if cached.summary is not None:
        truth = summary_facts(right)
        yield from _compare_facts(Place.REDIS, summary_facts(cached.summary), truth, truth)


def _compare_counts(
    archived: ArchivedBatch, right: BatchCompletionSummary, dependencies: StepDependencies
) -> Iterator[Difference]:
    """Compare the counts with the rows beside them: both are written in one transaction.

    What is right is said by all that is known: rows that are missing are counted, too.
    """
    own = count_facts(_counts_of(archived.state.summarise(dependencies)))
    truth = count_facts(_counts_of(right))
    yield from _compare_facts(Place.POSTGRES, count_facts(archived.counts), own, truth)


def _counts_of(summary: BatchCompletionSummary) -> dict[StepName, StepCounts]:
    return {
        name: StepCounts(
            completed=step.completed,
            failed=step.failed,
            essays_total=essays_total(summary, None),
            last_observed_at=step.last_observed_at,
        )
        for name, step in summary.steps.items()
    }


def _compare_facts(
    place: Place, says: Facts, expected: Facts, right: Facts
) -> Iterator[Difference]:
    for subject in sorted(says.keys() | expected.keys()):
        if says.get(subject) != expected.get(subject):
            yield Difference(
                place=place,
                subject=subject,
                says=says.get(subject),
                right=right.get(subject),
                known_by=Place.EVIDENCE,
            )
