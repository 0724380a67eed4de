"""What a write to a batch needs to know first: the commands that read it, and what they gave."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from batch_conductor_service.codec import outcome_from, time_from
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.documents import EssayDocument, read_document
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchUpdate,
    EssayId,
    StepCompletionSummary,
    StepName,
)
from batch_conductor_service.port_values import RedisCommand

# Fields of the summary hash; those of a step are written `field:step`.
WHOLE = "whole"
LIFE = "life"  # the run of the server in which the batch was last merged with the archive
REGISTERED_TOTAL = "registered_total"
REPORTED_TOTAL = "reported_total"
COMPLETED = "completed"
FAILED = "failed"
OBSERVED_AT = "observed_at"
REFUTED_AT = "refuted_at"
OUTCOME = "outcome"
SIZES = ("essays", "expected", "outcomes", "registrations")  # of the other keys, to miss none


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReading:
    """A batch as one atomic reading found it, as far as an update touches it."""

    batch_id: BatchId
    fields: Mapping[str, str]
    counts: Mapping[str, str]
    sizes: tuple[int, ...]
    documents: Mapping[EssayId, EssayDocument | None]
    indexed: frozenset[EssayId]
    expected: frozenset[EssayId]
    life: str | None = None

    @property
    def is_consistent(self) -> bool:
        """Whether the batch is whole and nothing of it has expired, was evicted or deleted."""
        sizes = tuple(self.fields.get(name) for name in SIZES)
        strange = any(
            (document is None) == (essay in self.indexed)
            or (document is not None and not document.is_current)
            for essay, document in self.documents.items()
        )
        return (
            is_whole(self.fields, self.counts)
            and is_of_life(self.fields, self.life)
            and sizes == tuple(str(size) for size in self.sizes)
            and not strange
        )


def is_whole(fields: Mapping[str, str], counts: Mapping[str, str]) -> bool:
    """Whether the two hashes say all that is known of the batch, and agree."""
    prefix = f"{COMPLETED}:"
    own = {name.removeprefix(prefix): n for name, n in fields.items() if name.startswith(prefix)}
    return fields.get(WHOLE) == "1" and own == dict(counts)


def is_of_life(fields: Mapping[str, str], life: str | None) -> bool:
    """Whether nothing can have been lost from the end since the archive was heard.

    A server that came back may have lost the last it had acknowledged, and what is left agrees with
    itself. A life of None says that there is no archive to hear.
    """
    return life is None or fields.get(LIFE) == life


def summary_commands(batch_id: BatchId) -> list[RedisCommand]:
    """Return the commands that read a summary, however many essays there are."""
    return [
        ("HGETALL", keys.batch_summary(batch_id)),
        ("HGETALL", keys.pipeline_state(batch_id)),
    ]


def reading_commands(update: BatchUpdate) -> list[RedisCommand]:
    """Return the commands that read what the update touches."""
    batch_id = update.batch_id
    commands: list[RedisCommand] = [
        *summary_commands(batch_id),
        ("SCARD", keys.batch_index(batch_id)),
        ("SCARD", keys.batch_expected(batch_id)),
        ("HLEN", keys.batch_outcomes(batch_id)),
        ("HLEN", keys.batch_registrations(batch_id)),
    ]
    if essays := touched_essays(update):
        commands += [
            ("SMISMEMBER", keys.batch_index(batch_id), *essays),
            ("SMISMEMBER", keys.batch_expected(batch_id), *essays),
            ("MGET", *(keys.essay_state(batch_id, essay) for essay in essays)),
        ]
    return commands


def parse_reading(
    update: BatchUpdate, replies: Iterator[Any], life: str | None = None
) -> BatchReading:
    """Take the replies to `reading_commands` from the iterator."""
    fields, counts = next(replies), next(replies)
    sizes = tuple(next(replies) for _ in SIZES)
    essays = touched_essays(update)
    indexed = next(replies) if essays else []
    expected = next(replies) if essays else []
    texts = next(replies) if essays else []
    return BatchReading(
        batch_id=update.batch_id,
        fields=fields,
        counts=counts,
        life=life,
        sizes=sizes,
        indexed=frozenset(essay for essay, is_in in zip(essays, indexed, strict=True) if is_in),
        expected=frozenset(essay for essay, is_in in zip(essays, expected, strict=True) if is_in),
        documents={
            essay: read_document(update.batch_id, essay, text)
            for essay, text in zip(essays, texts, strict=True)
        },
    )


def touched_essays(update: BatchUpdate) -> Sequence[EssayId]:
    """Return the essays that the update says something about, each once."""
    return list(dict.fromkeys(item.essay_id for item in update.evidence))


def find_summary(
    batch_id: BatchId,
    fields: Mapping[str, str],
    counts: Mapping[str, str],
    life: str | None = None,
) -> BatchCompletionSummary | None:
    """Return the summary that the two hashes hold, or None where they do not say all."""
    if not (is_whole(fields, counts) and is_of_life(fields, life)):
        return None
    names = {StepName(name.partition(":")[2]) for name in fields if ":" in name}
    try:
        return BatchCompletionSummary(
            batch_id=batch_id,
            registered_total=_integer(fields.get(REGISTERED_TOTAL)),
            reported_total=_integer(fields.get(REPORTED_TOTAL)),
            essays_known=int(fields["essays"]),
            steps={name: _parse_step(fields, name) for name in sorted(names)},
        )
    except (ValueError, KeyError):
        return None


def _parse_step(fields: Mapping[str, str], step: StepName) -> StepCompletionSummary:
    outcome = fields.get(f"{OUTCOME}:{step}")
    return StepCompletionSummary(
        completed=int(fields.get(f"{COMPLETED}:{step}", 0)),
        failed=int(fields.get(f"{FAILED}:{step}", 0)),
        last_observed_at=_time(fields.get(f"{OBSERVED_AT}:{step}")),
        refuted_at=_time(fields.get(f"{REFUTED_AT}:{step}")),
        outcome=outcome_from(orjson.loads(outcome)) if outcome else None,
    )


def _integer(text: str | None) -> int | None:
    return int(text) if text else None


def _time(text: str | None) -> datetime | None:
    return time_from(text) if text else None
