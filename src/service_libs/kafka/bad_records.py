"""When bad records halt the consumer, because a person has to look. Pure.

Most of the latest are invalid, as after a bad deploy, which would dead-letter everything; or one
cannot be read, and that is more than a transfer that went wrong.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice

from common_core.records import Partition, RecordPosition
from service_libs.exceptions import DeadLetterLimitError, TransientError, UnreadableRecordError
from service_libs.kafka.policy import DeadLetterLimit

MAX_FAILURES = 3  # at one offset; a transfer does not go wrong thrice in a row


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
        has_invalid = any(reason is not None for reason in poll.values())
        if has_invalid and len(invalid) >= self._limit.min_invalid_records and is_flood:
            raise _limit_error(invalid, among=len(latest))

    def add(self, poll: Mapping[RecordPosition, str | None]) -> None:
        """Take in the records of a poll that was handled: what is abandoned will be read again."""
        self._latest = self._with(poll)

    def _with(self, poll: Mapping[RecordPosition, str | None]) -> dict[RecordPosition, str | None]:
        # The invalid ones last: in a poll that is larger than the window they are what counts.
        merged = self._latest | dict(sorted(poll.items(), key=lambda one: one[1] is not None))
        return dict(islice(merged.items(), max(0, len(merged) - self._limit.window), None))


class UnreadablePollError(TransientError):
    """What was fetched cannot be read."""

    def __init__(self, positions: Mapping[Partition, int], *, is_final: bool) -> None:
        self.positions = positions
        self.is_final = is_final
        super().__init__()


class UnreadableRecords:
    """Counts how often reading failed while a partition with unread records stood where it was.

    Which partition it was the library does not say, so all that did not move are named.
    """

    def __init__(self) -> None:
        self._failures: dict[tuple[Partition, int], int] = {}

    def observe(self, error: UnreadablePollError) -> None:
        """Take note of a poll that could not be read.

        Raises:
            UnreadableRecordError: reading it once more would not help.
        """
        places = error.positions.items()
        self._failures = {place: self._failures.get(place, 0) + 1 for place in places}
        blocked = [place for place, count in self._failures.items() if count >= MAX_FAILURES]
        if error.is_final or blocked:
            names = sorted(f"{p[0]}:{p[1]}:{offset}" for p, offset in blocked or places)
            raise UnreadableRecordError(
                f"A record at or after {' or '.join(names) or 'an unknown offset'} cannot be read:"
                " an unknown compression, or not what Kafka's protocol allows.",
                {"records": 1, "topics": ", ".join(_topics(blocked or places)), "place": names[0]}
                if names
                else None,
            )


def _limit_error(invalid: Mapping[RecordPosition, str], *, among: int) -> DeadLetterLimitError:
    """Return the error that says how many, of which topics and reasons, and one place."""
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


def _topics(places: Iterable[tuple[Partition, int]]) -> list[str]:
    return sorted({topic for (topic, _), _ in places})
