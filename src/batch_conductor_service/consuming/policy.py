"""How the consumer behaves, as data."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterLimit:
    """When so many records are invalid that the fault is more likely ours than theirs.

    Of the latest `window` records, at least `min_invalid_records` and more than `max_invalid_ratio`
    of them; a ratio of 1 is never exceeded.
    """

    max_invalid_ratio: float = 0.5
    min_invalid_records: int = 100
    window: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerPolicy:
    """Everything about consumption that is set from outside.

    Attributes:
        commit_interval_seconds: time between looks at what Postgres holds.
        drain_timeout_seconds: longest wait, before partitions are given away and at the stop, for
            Postgres to hold what was applied. What it does not hold by then is read again.
        rebalance_timeout_seconds: how long the group waits for a member to give its partitions up;
            must exceed the drain.
        close_timeout_seconds: longest wait at the stop for the broker to let go.
        stuck_timeout_seconds: lag without progress, or a rebalance without end, after which the
            connection is made anew; must exceed the rebalance.
        metadata_max_age_seconds: within this time a topic that appears is noticed.
        max_backoff_seconds: longest wait between two tries.
        max_clock_skew_seconds: how far a sender's clock, the broker's and ours may be apart.
        queue_high_water: updates waiting for Postgres that pause consumption; half resumes it.
    """

    bootstrap_servers: str
    group_id: str
    max_poll_records: int = 500
    session_timeout_seconds: float = 10
    request_timeout_seconds: float = 10
    rebalance_timeout_seconds: float = 30
    commit_interval_seconds: float = 1
    drain_timeout_seconds: float = 5
    close_timeout_seconds: float = 1
    stuck_timeout_seconds: float = 60
    metadata_max_age_seconds: float = 5
    max_backoff_seconds: float = 5
    queue_high_water: int = 50_000
    max_clock_skew_seconds: float = 60
    dlq_limit: DeadLetterLimit = field(default_factory=DeadLetterLimit)
