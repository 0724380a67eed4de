"""The time of day."""

from datetime import UTC, datetime


class SystemClock:
    """`ClockProtocol` on this machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)
