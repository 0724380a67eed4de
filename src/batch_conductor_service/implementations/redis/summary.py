"""The summary of a batch as it is kept and read: all of a question's need, if it is current.

It is *current*, and answered from, if it is whole, nothing can have been lost since the batch was
merged with the archive, and its essays were counted by the dependencies of now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from redis.exceptions import ResponseError

from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.models import BatchCompletionSummary, BatchId, SummaryReading
from service_libs.breakers import CircuitBreakers
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.transactions import RedisReaderProtocol
from service_libs.together import Together

SUMMARY = "summary"  # the field of the batch's hash

BATCHES_TOGETHER = 64
READINGS_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSummary:
    """A summary, with what decides whether it is current.

    Attributes:
        version: of this form; a summary of another one is made again from the evidence.
        server_run: the data in which the batch was last merged with the archive; empty where there
            was none.
        dependencies: the version of the dependencies that the essays were counted by.
    """

    version: Literal[2] = 2
    summary: BatchCompletionSummary
    server_run: str
    dependencies: str


_FORM = msgspec.json.Decoder(KeptSummary)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentData:
    """What a kept summary has to be of to be current.

    Attributes:
        server_run: the data that the server has now; None where there is no archive, for then there
            is nothing to merge the batch with.
        dependencies: those that essays are counted by.
    """

    server_run: str | None
    dependencies: StepDependencies

    def find_summary(self, kept: KeptSummary | None) -> BatchCompletionSummary | None:
        """Return the summary if it is current."""
        if kept is None or not self.is_merged(kept):
            return None
        return kept.summary if kept.dependencies == self.dependencies.version else None

    def is_merged(self, kept: KeptSummary) -> bool:
        """Whether it is whole, and nothing can have been lost since it was merged."""
        return kept.summary.is_whole and self.server_run in (None, kept.server_run)


def encode_summary(kept: KeptSummary) -> str:
    """Return the summary as it is kept."""
    return msgspec.json.encode(kept).decode()


def decode_summary(text: str | None) -> KeptSummary | None:
    """Return the summary, or None where there is none that this version can read."""
    try:
        kept = _FORM.decode(text or "")
    except (msgspec.MsgspecError, RecursionError):
        return None
    # A field that is left out would be taken for its default, as that nothing has failed.
    return kept if encode_summary(kept) == text else None


class SummaryReader:
    """Reads summaries: those of all who ask at one moment in one round trip, each batch once.

    Args:
        has_archive: whether there is anything that a summary has to be merged with.
    """

    def __init__(
        self,
        redis: RedisReaderProtocol,
        breakers: CircuitBreakers,
        dependencies: StepDependencies,
        *,
        has_archive: bool,
    ) -> None:
        self._redis = redis
        self._dependencies = dependencies
        self._has_archive = has_archive
        self._together = Together(
            lambda batch_ids: breakers.call("redis", lambda: self._read(batch_ids)),
            keys=BATCHES_TOGETHER,
            questions=READINGS_AT_ONCE,
        )

    async def find(self, batch_id: BatchId) -> SummaryReading | None:
        """Return the summary, or None where there is none that is current.

        Raises:
            StoreUnavailableError: Redis cannot be read.
        """
        return await self._together.get(batch_id)

    async def _read(
        self, batch_ids: Sequence[BatchId]
    ) -> Mapping[BatchId, SummaryReading | None] | None:
        """Return the summaries, however many essays there are; None: they must be read singly.

        That is where one of the keys is none of ours, or an earlier version has written to one.
        """
        try:
            reading = await self._redis.read(
                [
                    *(("HGET", keys.batch(one), SUMMARY) for one in batch_ids),
                    ("EXISTS", *map(keys.earlier_summary, batch_ids)),
                ]
            )
        except StoreUnavailableError as exc:
            if len(batch_ids) == 1 or not isinstance(exc.__cause__, ResponseError):
                raise
            return None
        *texts, have_earlier = reading.replies
        if have_earlier:
            return {batch_ids[0]: None} if len(batch_ids) == 1 else None
        server_run = reading.server_run if self._has_archive else None
        current = CurrentData(server_run=server_run, dependencies=self._dependencies)
        found: dict[BatchId, SummaryReading | None] = dict.fromkeys(batch_ids)
        for batch_id, text in zip(batch_ids, texts, strict=True):
            if summary := current.find_summary(decode_summary(text)):
                found[batch_id] = SummaryReading(summary=summary, server_run=server_run)
        return found
