"""The difference between a transfer that went wrong and a record that nobody can read. Pure."""

from collections.abc import Iterable, Mapping

from common_core.records import Partition
from service_libs.exceptions import TransientError, UnreadableRecordError

MAX_FAILURES = 3  # at one offset; a transfer does not go wrong thrice in a row


class UnreadablePollError(TransientError):
    """What was fetched cannot be read."""

    def __init__(self, positions: Mapping[Partition, int], *, is_final: bool) -> None:
        self.positions = positions
        self.is_final = is_final
        super().__init__()


class UnreadableRecords:
    """Counts how often reading failed while a partition with unread records stood where it was.

    Which partition it was the library does not say, so all that did not move are told.
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


def _topics(places: Iterable[tuple[Partition, int]]) -> list[str]:
    return sorted({topic for (topic, _), _ in places})
