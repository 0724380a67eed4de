"""Everything known of a batch: what Redis has, with what the archive has merged in.

Needed where a difference will not do: a batch that Redis does not know, or lost a part of, or that
was written by an earlier version, or whose registration says anew which essays count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from batch_conductor_service.breakers import CircuitBreakers
from batch_conductor_service.codec import (
    outcome_from,
    registration_from,
    text_values,
)
from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.exceptions import StoreUnavailableError, TransientError
from batch_conductor_service.failpoints import failpoint
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.documents import EssayDocument, read_document
from batch_conductor_service.implementations.redis.readings import BatchReading
from batch_conductor_service.models import (
    BatchId,
    BatchRegistration,
    BatchUpdate,
    EssayEvidence,
    EssayId,
    EssayProcessingState,
    PhaseOutcome,
)
from batch_conductor_service.port_values import RedisCommand
from batch_conductor_service.protocols import AtomicRedisClientProtocol, BatchStateArchiveProtocol


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeBatch:
    """All evidence of a batch.

    Attributes:
        state: what is known.
        documents: the essay documents in Redis, those that can be read.
        is_whole: whether the archive was heard, or there is none.
        unqueued: what only documents of earlier versions say; Postgres has yet to get it.
    """

    state: BatchState
    documents: Mapping[EssayId, EssayDocument]
    is_whole: bool
    unqueued: tuple[EssayEvidence, ...]


class Archived:
    """What the archive has of some batches; each is loaded once, however often it is asked for."""

    def __init__(
        self, archive: BatchStateArchiveProtocol | None, breakers: CircuitBreakers
    ) -> None:
        self._archive = archive
        self._breakers = breakers
        self._states: dict[BatchId, BatchState] = {}
        self._heard: set[BatchId] = set()

    async def load(self, batch_ids: Sequence[BatchId]) -> None:
        """Load the batches that were not loaded yet; none if the archive cannot be reached."""
        archive, missing = self._archive, [b for b in batch_ids if b not in self._heard]
        if archive is None or not missing:
            return
        try:
            self._states |= await self._breakers.call(
                "postgresql", lambda: archive.load_states(missing)
            )
        except TransientError:
            return
        self._heard.update(missing)

    def find(self, batch_id: BatchId) -> BatchState | None:
        """Return what the archive has of the batch."""
        return self._states.get(batch_id)

    def was_heard(self, batch_id: BatchId) -> bool:
        """Whether the archive told all it has of the batch."""
        return batch_id in self._heard

    def completes(self, reading: BatchReading) -> bool:
        """Whether nothing can be missing of a batch that is not intact in Redis.

        Without an archive that is so only for a batch without a summary: one that is new, or of an
        earlier version. Of any other a part is lost for good.
        """
        return self.was_heard(reading.batch_id) if self._archive else not reading.fields


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rest:
    """What a reading for a difference leaves out: everything reported, and what still waits."""

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


async def load_whole(
    redis: AtomicRedisClientProtocol, found: Sequence[BatchReading], archived: Archived
) -> list[WholeBatch]:
    """Return the whole batches, in two round trips for all of them and one statement a table.

    Raises:
        StoreUnavailableError: Redis cannot be read, or was another one in between.
    """
    life = redis.life
    rests = await _read_rests(redis, found)
    essays = [
        await _find_essays(redis, reading, rest) for reading, rest in zip(found, rests, strict=True)
    ]
    documents = await _read_documents(redis, found, essays)
    if redis.life != life:
        raise StoreUnavailableError("Redis was another one in between.")
    intact = {
        reading.batch_id
        for reading, rest in zip(found, rests, strict=True)
        if rest.has_all_of(reading, documents[reading.batch_id])
    }
    failpoint("hydrate.read")
    await archived.load([r.batch_id for r in found if r.batch_id not in intact])
    failpoint("hydrate.loaded")
    return [
        _combine(
            reading,
            archived,
            documents[reading.batch_id],
            BatchUpdate(
                batch_id=reading.batch_id,
                outcomes=rest.outcomes,
                registrations=rest.registrations,
            ),
            # What is lost here and still waits for the archive, neither of the two can tell.
            is_whole=reading.batch_id in intact
            or (archived.completes(reading) and not rest.is_waiting),
        )
        for reading, rest in zip(found, rests, strict=True)
    ]


async def _read_rests(
    redis: AtomicRedisClientProtocol, found: Sequence[BatchReading]
) -> list[_Rest]:
    commands = [command for reading in found for command in _hash_commands(reading.batch_id)]
    *replies, counted, queued = await redis.read([*commands, *_QUEUE_COMMANDS])
    # Where the counts of what waits are lost themselves, anything may wait.
    is_counted = int(counted or 0) == queued
    rest = iter(replies)
    return [
        _Rest(
            outcomes=tuple(text_values(next(rest), outcome_from)),
            registrations=tuple(text_values(next(rest), registration_from)),
            indexed=frozenset(map(EssayId, next(rest))),
            is_waiting=next(rest) is not None or not is_counted,
        )
        for _ in found
    ]


_QUEUE_COMMANDS: tuple[RedisCommand, ...] = (
    ("HGET", keys.PERSISTENCE_WAITING, keys.WAITING_OF_ALL),
    ("XLEN", keys.PERSISTENCE_QUEUE),
)


def _hash_commands(batch_id: BatchId) -> list[RedisCommand]:
    return [
        ("HVALS", keys.batch_outcomes(batch_id)),
        ("HVALS", keys.batch_registrations(batch_id)),
        ("SMEMBERS", keys.batch_index(batch_id)),
        ("HGET", keys.PERSISTENCE_WAITING, batch_id),
    ]


async def _find_essays(
    redis: AtomicRedisClientProtocol, reading: BatchReading, rest: _Rest
) -> list[EssayId]:
    essays = rest.indexed | reading.documents.keys()
    if reading.counts and not reading.fields:  # an earlier version kept no index
        prefix = keys.essay_state_prefix(reading.batch_id)
        essays |= {EssayId(key.removeprefix(prefix)) for key in await redis.scan(f"{prefix}*")}
    return sorted(essays)


async def _read_documents(
    redis: AtomicRedisClientProtocol,
    found: Sequence[BatchReading],
    essays: Sequence[Sequence[EssayId]],
) -> dict[BatchId, dict[EssayId, EssayDocument]]:
    wanted = [(reading.batch_id, some) for reading, some in zip(found, essays, strict=True)]
    commands: list[RedisCommand] = [
        ("MGET", *(keys.essay_state(batch_id, essay) for essay in some))
        for batch_id, some in wanted
        if some
    ]
    replies = iter(await redis.read(commands) if commands else [])
    documents: dict[BatchId, dict[EssayId, EssayDocument]] = {}
    for batch_id, some in wanted:
        texts = next(replies) if some else []
        read = {e: read_document(batch_id, e, t) for e, t in zip(some, texts, strict=True)}
        documents[batch_id] = {essay: doc for essay, doc in read.items() if doc is not None}
    return documents


def _combine(
    reading: BatchReading,
    archived: Archived,
    documents: Mapping[EssayId, EssayDocument],
    reports: BatchUpdate,
    *,
    is_whole: bool,
) -> WholeBatch:
    evidence = tuple(item for document in documents.values() for item in _evidence(document.state))
    state = BatchState(reading.batch_id)
    state.merge(replace(reports, evidence=evidence))
    if (known := archived.find(reading.batch_id)) is not None:
        state.merge(known.as_update())
    earlier = (document.state for document in documents.values() if not document.is_current)
    return WholeBatch(
        state=state,
        documents=documents,
        is_whole=is_whole,
        unqueued=tuple(item for essay in earlier for item in _evidence(essay)),
    )


def _evidence(essay: EssayProcessingState) -> list[EssayEvidence]:
    return [
        EssayEvidence(essay_id=essay.essay_id, step=step, source=source, evidence=evidence)
        for step, known in essay.steps.items()
        for source, evidence in known.sources.items()
    ]
