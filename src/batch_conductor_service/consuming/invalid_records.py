"""The guard against dead-lettering everything after a bad deploy. Pure."""

from collections.abc import Mapping
from itertools import islice

from batch_conductor_service.consuming.policy import DeadLetterLimit
from batch_conductor_service.exceptions import DeadLetterLimitError
from batch_conductor_service.models import RecordPosition


class InvalidRecordWindow:
    """Which of the latest records were invalid; one that is read again counts once."""

    def __init__(self, limit: DeadLetterLimit) -> None:
        self._limit = limit
        self._latest: dict[RecordPosition, bool] = {}

    def check(self, poll: Mapping[RecordPosition, bool]) -> None:
        """Judge the records of a poll, before any of them is dead-lettered.

        Raises:
            DeadLetterLimitError: with them, too many of the latest records are invalid.
        """
        latest = self._with(poll)
        count = sum(latest.values())
        is_flood = count > self._limit.max_invalid_ratio * len(latest)
        if any(poll.values()) and count >= self._limit.min_invalid_records and is_flood:
            raise DeadLetterLimitError

    def add(self, poll: Mapping[RecordPosition, bool]) -> None:
        """Take in the records of a poll that was handled: what is abandoned will be read again."""
        self._latest = self._with(poll)

    def _with(self, poll: Mapping[RecordPosition, bool]) -> dict[RecordPosition, bool]:
        # The invalid ones last: in a poll that is larger than the window they are what counts.
        merged = self._latest | dict(sorted(poll.items(), key=lambda judged: judged[1]))
        return dict(islice(merged.items(), max(0, len(merged) - self._limit.window), None))
