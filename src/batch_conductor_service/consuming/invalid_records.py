"""The guard against dead-lettering everything after a bad deploy. Pure."""

from collections import deque

from batch_conductor_service.consuming.policy import DeadLetterLimit
from batch_conductor_service.exceptions import DeadLetterLimitError


class InvalidRecordWindow:
    """How many of the latest records were invalid."""

    def __init__(self, limit: DeadLetterLimit) -> None:
        self._limit = limit
        self._latest: deque[bool] = deque(maxlen=limit.window)

    def observe(self, *, valid: int, invalid: int) -> None:
        """Take in the records of a poll, before any of them is dead-lettered.

        Raises:
            DeadLetterLimitError: too many of the latest records are invalid.
        """
        self._latest.extend([False] * valid)
        self._latest.extend([True] * invalid)
        count = sum(self._latest)
        if invalid and count >= self._limit.min_invalid_records and self._is_exceeded_by(count):
            raise DeadLetterLimitError

    def _is_exceeded_by(self, count: int) -> bool:
        return count > self._limit.max_invalid_ratio * len(self._latest)
