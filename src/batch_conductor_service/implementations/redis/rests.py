"""What a reading for a difference leaves out: everything reported, and what still waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batch_conductor_service.codec import outcome_from, registration_from, text_values
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.documents import EssayDocument
from batch_conductor_service.implementations.redis.readings import BatchReading
from batch_conductor_service.models import BatchId, BatchRegistration, EssayId, PhaseOutcome
from batch_conductor_service.port_values import RedisCommand
from batch_conductor_service.protocols import AtomicRedisClientProtocol

_QUEUE_COMMANDS: tuple[RedisCommand, ...] = (
    ("HGET", keys.PERSISTENCE_WAITING, keys.WAITING_OF_ALL),
    ("XLEN", keys.PERSISTENCE_QUEUE),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRest:
    """The rest of a batch.

    Attributes:
        outcomes, registrations: those that can be read.
        indexed: the essays that have a document.
        is_waiting: whether Postgres may not have all of the batch yet.
    """

    outcomes: tuple[PhaseOutcome, ...]
    registrations: tuple[BatchRegistration, ...]
    indexed: frozenset[EssayId]
    is_waiting: bool

    def has_all_of(self, reading: BatchReading, documents: Mapping[EssayId, EssayDocument]) -> bool:
        """Whether the batch was consistent, and all that it then had has been read."""
        essays, _, outcomes, registrations = reading.sizes
        sizes = (len(self.indexed), len(self.outcomes), len(self.registrations))
        return (
            reading.is_consistent
            and sizes == (essays, outcomes, registrations)
            and documents.keys() >= self.indexed
            and all(document.is_current for document in documents.values())
        )


async def read_rests(
    redis: AtomicRedisClientProtocol, found: Sequence[BatchReading]
) -> list[BatchRest]:
    """Return the rest of each batch, in one round trip."""
    commands = [command for reading in found for command in _hash_commands(reading.batch_id)]
    *replies, counted, queued = await redis.read([*commands, *_QUEUE_COMMANDS])
    # Where the counts of what waits are lost themselves, anything may wait.
    is_counted = int(counted or 0) == queued
    rest = iter(replies)
    return [
        BatchRest(
            outcomes=tuple(text_values(next(rest), outcome_from)),
            registrations=tuple(text_values(next(rest), registration_from)),
            indexed=frozenset(map(EssayId, next(rest))),
            is_waiting=next(rest) is not None or not is_counted,
        )
        for _ in found
    ]


def _hash_commands(batch_id: BatchId) -> list[RedisCommand]:
    return [
        ("HVALS", keys.batch_outcomes(batch_id)),
        ("HVALS", keys.batch_registrations(batch_id)),
        ("SMEMBERS", keys.batch_index(batch_id)),
        ("HGET", keys.PERSISTENCE_WAITING, batch_id),
    ]
