"""How a member of a consumer group behaves, as data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePolicy:
    """How a source of records behaves.

    Attributes:
        client_id: names the service to the broker.
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
    max_poll_records: int = 500
    session_timeout_seconds: float = 10
    request_timeout_seconds: float = 10
    rebalance_timeout_seconds: float = 30
    commit_interval_seconds: float = 1
    drain_timeout_seconds: float = 5
    fetch_wait_seconds: float = 0.25
    metadata_max_age_seconds: float = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterLimit:
    """When so many records are invalid that the fault is more likely ours than theirs.

    Of the latest `window` records, at least `min_invalid_records` and more than `max_invalid_ratio`
    of them; a ratio of 1 is never exceeded.
    """

    max_invalid_ratio: float = 0.5
    min_invalid_records: int = 100
    window: int = 500
