"""The summary of a batch as it is kept: all that a question reads, and whether it is current.

It is *current*, and answered from, if it is whole, nothing can have been lost since the batch was
merged with the archive, and its essays were counted by the dependencies of now.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.models import BatchCompletionSummary, BatchId
from service_libs.redis.connections import RedisCommand

SUMMARY = "summary"  # the field of the batch's hash


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


_FORM = TypeAdapter(KeptSummary)


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
    return _FORM.dump_json(kept).decode()


def decode_summary(text: str | None) -> KeptSummary | None:
    """Return the summary, or None where there is none that this version can read."""
    try:
        kept = _FORM.validate_json(text or "")
    except ValidationError:
        return None
    # A field that is left out would be taken for its default, as that nothing has failed.
    return kept if encode_summary(kept) == text else None


def summary_commands(batch_id: BatchId) -> list[RedisCommand]:
    """Return the commands that read a summary, however many essays there are."""
    return [
        ("HGET", keys.batch(batch_id), SUMMARY),
        ("EXISTS", keys.earlier_summary(batch_id)),
    ]
