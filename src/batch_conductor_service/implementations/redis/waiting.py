"""Whether anything may wait for Postgres, for when Redis cannot be asked."""

import time


class WaitingEntries:
    """What this process knows of the queue: what it saw there, and what it put there since.

    In doubt something waits: an answer from Postgres alone could miss it, and it may be a failure.
    """

    def __init__(self) -> None:
        self._is_empty = False
        self._queued_at = time.monotonic()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waited at the last look, and nothing was queued from here since."""
        return self._is_empty

    def note_queued(self) -> None:
        """Note that something is being queued, or may have been."""
        self._is_empty = False
        self._queued_at = time.monotonic()

    def note_look(self, depth: int | None, began_at: float) -> None:
        """Note what a look at the queue saw that began then (monotonic seconds).

        None instead of a depth says that it cannot be known.
        """
        self._is_empty = depth == 0 and began_at > self._queued_at
