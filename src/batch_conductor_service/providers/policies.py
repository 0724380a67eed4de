"""What follows from the settings: the consumer's policy, and the shares of the stop's time."""

from batch_conductor_service.config import Settings
from batch_conductor_service.consuming.policy import ConsumerPolicy
from service_libs.kafka.policy import DeadLetterLimit

# Of the shutdown's time, and of the tasks' share of it, which `service_libs.lifecycle` has.
DRAIN_SHARE = 0.15
LEAVE_SHARE = 0.05

REBALANCE_FACTOR = 3  # how much longer than its session the group waits for a member
WATCH_TIMEOUT_SECONDS = 3  # for one question to the broker about what freshness follows from
DLQ_WINDOW_FACTOR = 5  # how many times more records are looked at than may be invalid


def consumer_policy(settings: Settings) -> ConsumerPolicy:
    """Return how the consumer behaves."""
    session_timeout_seconds = settings.kafka_session_timeout_seconds
    return ConsumerPolicy(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=settings.kafka_consumer_group_id,
        max_poll_records=settings.kafka_max_poll_records,
        session_timeout_seconds=session_timeout_seconds,
        request_timeout_seconds=settings.kafka_request_timeout_seconds,
        rebalance_timeout_seconds=REBALANCE_FACTOR * session_timeout_seconds,
        commit_interval_seconds=settings.offset_commit_interval_seconds,
        drain_timeout_seconds=min(
            DRAIN_SHARE * settings.shutdown_timeout_seconds, session_timeout_seconds
        ),
        close_timeout_seconds=LEAVE_SHARE * settings.shutdown_timeout_seconds,
        stuck_timeout_seconds=settings.stuck_consumer_timeout_seconds,
        queue_high_water=settings.persistence_queue_high_water,
        max_clock_skew_seconds=settings.max_clock_skew_seconds,
        queue_high_water_bytes=settings.persistence_queue_high_water_bytes,
        dlq_limit=DeadLetterLimit(
            max_invalid_ratio=settings.dlq_max_invalid_ratio,
            min_invalid_records=settings.dlq_min_invalid_records,
            window=DLQ_WINDOW_FACTOR * settings.dlq_min_invalid_records,
        ),
    )
