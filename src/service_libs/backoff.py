"""How long to wait before the next try. Pure but for chance."""

import random

FIRST_DELAY_SECONDS = 0.1


def spread(seconds: float) -> float:
    """Return the delay shortened by up to half, by chance, so that those who wait do not meet."""
    return seconds * random.uniform(0.5, 1)  # noqa: S311 - chance that spreads, not a secret


class Backoff:
    """Delays that double up to a cap, each shortened by up to half so that replicas spread."""

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._next_seconds = FIRST_DELAY_SECONDS

    def next_delay(self) -> float:
        """Return the seconds to wait now."""
        delay = min(self._next_seconds, self._max_seconds)
        self._next_seconds = delay * 2
        return spread(delay)

    def reset(self) -> None:
        """Start again from the shortest delay."""
        self._next_seconds = FIRST_DELAY_SECONDS
