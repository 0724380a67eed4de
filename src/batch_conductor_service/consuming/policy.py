"""How the consumer behaves, as data."""

from dataclasses import dataclass, field

from service_libs.kafka.consumer import LoopPolicy
from service_libs.kafka.policy import DeadLetterLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerPolicy(LoopPolicy):
    """Everything about consumption that is set from outside.

    Attributes:
        commit_interval_seconds: also the time between looks at what Postgres holds.
        drain_timeout_seconds: longest wait, before partitions are given away and at the stop, for
            Postgres to hold what was applied. What it does not hold by then is read again. The
            rebalance must take longer.
        drain_look_seconds: between two looks at what Postgres holds, while it is waited for.
        max_clock_skew_seconds: how far a sender's clock, the broker's and ours may be apart.
        queue_high_water: updates waiting for Postgres that pause consumption; half resumes it.
        queue_high_water_bytes: the same of their bytes, so that Redis has room for large ones, too.
    """

    client_id: str = "batch-conductor-service"
    drain_look_seconds: float = 0.05
    queue_high_water: int = 50_000
    max_clock_skew_seconds: float = 60
    queue_high_water_bytes: int = 64 * 1024 * 1024
    dlq_limit: DeadLetterLimit = field(default_factory=DeadLetterLimit)
