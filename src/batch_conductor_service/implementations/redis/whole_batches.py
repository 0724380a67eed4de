"""Everything known of a batch: what Redis has, with what the archive has merged in.

Needed where a difference will not do: a batch that Redis does not know, or lost a part of, or that
was written by an earlier version, or whose registration says anew which essays count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.exceptions import StoreUnavailableError
from batch_conductor_service.failpoints import failpoint
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.archived import Archived
from batch_conductor_service.implementations.redis.documents import EssayDocument, read_document
from batch_conductor_service.implementations.redis.readings import BatchReading
from batch_conductor_service.implementations.redis.rests import BatchRest, read_rests
from batch_conductor_service.models import (
    BatchId,
    BatchUpdate,
    EssayEvidence,
    EssayId,
    EssayProcessingState,
)
from batch_conductor_service.port_values import RedisCommand
from batch_conductor_service.protocols import AtomicRedisClientProtocol


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


async def load_whole(
    redis: AtomicRedisClientProtocol, found: Sequence[BatchReading], archived: Archived
) -> list[WholeBatch]:
    """Return the whole batches, in two round trips for all of them and one statement a table.

    Raises:
        StoreUnavailableError: Redis cannot be read, or was another one in between.
    """
    life = redis.life
    rests = await read_rests(redis, found)
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


async def _find_essays(
    redis: AtomicRedisClientProtocol, reading: BatchReading, rest: BatchRest
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
