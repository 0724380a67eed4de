"""Settings as each part wants them, with what follows from them."""

from batch_conductor_service.config import Settings
from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.operating.drift_sampling import SamplingPolicy
from batch_conductor_service.operating.retention import RetentionPolicy
from batch_conductor_service.persisting.worker import WorkPolicy
from service_libs.kafka.policy import DeadLetterLimit
from service_libs.redis.connections import RedisPolicy

# Of the shutdown's time; requests have a share of their own. What runs beside them stops after the
# last of them, one after the other, so the shares of all of them together leave some.
DRAIN_SHARE = 0.15
LEAVE_SHARE = 0.05
TASKS_SHARE = 0.4
CLOSE_SHARE = 0.2

REBALANCE_FACTOR = 3  # how much longer than its session the group waits for a member
WATCH_TIMEOUT_SECONDS = 3  # for one question to the broker about what freshness rests on
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


def redis_policy(settings: Settings) -> RedisPolicy:
    """Return how Redis is waited for."""
    return RedisPolicy(
        timeout_seconds=settings.redis_timeout_seconds,
        max_connections=settings.redis_max_connections,
    )


def work_policy(settings: Settings) -> WorkPolicy:
    """Return how much the worker has in hand."""
    return WorkPolicy(
        max_entries=settings.persistence_batch_size, max_bytes=settings.persistence_batch_bytes
    )


def retention_policy(settings: Settings) -> RetentionPolicy:
    """Return for how long batches are kept."""
    return RetentionPolicy(days=settings.retention_days)


def sampling_policy(settings: Settings) -> SamplingPolicy:
    """Return how often a sample is audited."""
    return SamplingPolicy(interval_seconds=settings.audit_interval_seconds)
