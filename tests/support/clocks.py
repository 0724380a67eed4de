"""Clocks that a test moves."""

from datetime import datetime, timedelta

from tests.support.builders import NOON


class SettableClock:
    """Stands until it is moved."""

    def __init__(self, time: datetime = NOON) -> None:
        self.time = time

    def now(self) -> datetime:
        return self.time

    def move(self, seconds: float) -> None:
        """Put it forward, or back."""
        self.time += timedelta(seconds=seconds)
