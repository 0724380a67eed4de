"""The guard against dead-lettering everything after a bad deploy. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice

from common_core.records import RecordPosition
from service_libs.exceptions import DeadLetterLimitError
from service_libs.kafka.policy import DeadLetterLimit


class InvalidRecordWindow:
    """Which of the latest records were invalid, and why; one that is read again counts once."""

    def __init__(self, limit: DeadLetterLimit) -> None:
        self._limit = limit
        self._latest: dict[RecordPosition, str | None] = {}

    def check(self, poll: Mapping[RecordPosition, str | None]) -> None:
        """Judge the records of a poll, before any of them is dead-lettered.

        Args:
            poll: of each record, for what reason it is invalid, if it is.

        Raises:
            DeadLetterLimitError: with them, too many of the latest records are invalid.
        """
        latest = self._with(poll)
        invalid = {position: reason for position, reason in latest.items() if reason is not None}
        is_flood = len(invalid) > self._limit.max_invalid_ratio * len(latest)
        is_told = any(reason is not None for reason in poll.values())
        if is_told and len(invalid) >= self._limit.min_invalid_records and is_flood:
            raise _limit_error(invalid, among=len(latest))

    def add(self, poll: Mapping[RecordPosition, str | None]) -> None:
        """Take in the records of a poll that was handled: what is abandoned will be read again."""
        self._latest = self._with(poll)

    def _with(self, poll: Mapping[RecordPosition, str | None]) -> dict[RecordPosition, str | None]:
        # The invalid ones last: in a poll that is larger than the window they are what counts.
        merged = self._latest | dict(sorted(poll.items(), key=lambda one: one[1] is not None))
        return dict(islice(merged.items(), max(0, len(merged) - self._limit.window), None))


def _limit_error(invalid: Mapping[RecordPosition, str], *, among: int) -> DeadLetterLimitError:
    """Return the error that tells how many, of which topics and reasons, and one place."""
    topics = _counted(position.topic for position in invalid)
    reasons = _counted(invalid.values())
    last = list(invalid)[-1]
    place = f"{last.topic}:{last.partition}:{last.offset}"
    return DeadLetterLimitError(
        f"{len(invalid)} of the latest {among} records cannot be applied, so consumption stopped."
        f" Topics: {topics}. Reasons: {reasons}. One of them: {place}.",
        {
            "records": len(invalid),
            "among": among,
            "topics": topics,
            "reasons": reasons,
            "topic": last.topic,
            "partition": last.partition,
            "offset": last.offset,
        },
    )


def _counted(names: Iterable[str]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in Counter(names).most_common())
