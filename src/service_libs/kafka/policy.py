"""How a member of a consumer group behaves, as data."""

import socket
from dataclasses import dataclass

HEARTBEAT_SECONDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePolicy:
    """How a source of records behaves.

    Attributes:
        client_id: names the service to the broker.
        seat: where the process is, and no other can be at the same time; None where nothing says
            so. Who is in the group from there, when it joins, is dead and has to leave.
        rebalance_timeout_seconds: how long the group waits for a member to give its partitions up.
        commit_interval_seconds: the longest wait of a poll.
        drain_timeout_seconds: how long a revocation may take to finish what is in hand.
        fetch_wait_seconds: how long the broker holds a fetch of what has no more records; freshness
            is at least as old as that.
        metadata_max_age_seconds: within this time a topic that appears is noticed.
    """

    bootstrap_servers: str
    group_id: str
    client_id: str
    seat: str | None = None
    max_poll_records: int = 500
    session_timeout_seconds: float = 10
    request_timeout_seconds: float = 10
    rebalance_timeout_seconds: float = 30
    commit_interval_seconds: float = 1
    drain_timeout_seconds: float = 5
    fetch_wait_seconds: float = 0.25
    metadata_max_age_seconds: float = 5

    @property
    def heartbeat_seconds(self) -> float:
        """The time between two heartbeats: with the next one a member hears of a rebalance."""
        return min(HEARTBEAT_SECONDS, self.session_timeout_seconds / 3)

    @property
    def member_client_id(self) -> str:
        """What names the service, and its seat where there is one, to the broker."""
        return f"{self.client_id}@{self.seat}" if self.seat else self.client_id


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterLimit:
    """When so many records are invalid that the fault is more likely ours than theirs.

    Of the latest `window` records, at least `min_invalid_records` and more than `max_invalid_ratio`
    of them; a ratio of 1 is never exceeded.
    """

    max_invalid_ratio: float = 0.5
    min_invalid_records: int = 100
    window: int = 500


def seat_at(address: str, port: int) -> str | None:
    """Return the seat of a process that listens there; the system lets no other do so.

    None where the system chooses the port: it is another one after each start.
    """
    return f"{socket.gethostname()}/{address}:{port}" if port else None
