"""Settings, from `BCS_...` variables, and from files in a secrets directory for what is secret.

Settings build nothing; nothing else reads the environment.
"""

from pathlib import Path
from typing import Literal

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from service_libs import settings as reading
from service_libs.settings import (
    CALLERS_MARGIN_SECONDS,
    MEBIBYTE,
    Brokers,
    Count,
    Environment,
    Port,
    Seconds,
    Token,
    setting,
)

# Read by docker-compose.yml, whose `.env` may be this process's environment, too.
COMPOSITION_NAMES = frozenset(
    {
        "BCS_IMAGE_TAG",
        "BCS_KAFKA_HOST",
        "BCS_KAFKA_PORT",
        "BCS_PORT",
        "BCS_GRAFANA_PORT",
        "BCS_POSTGRES_PORT",
        "BCS_PROMETHEUS_PORT",
        "BCS_REDIS_PORT",
    }
)


class Settings(BaseSettings):
    """All settings; the README has the same table."""

    model_config = SettingsConfigDict(env_prefix="BCS_", frozen=True, extra="forbid")

    environment: Environment = setting(Environment.DEVELOPMENT, "Where the service runs.")
    env_type: Literal["", "docker"] = setting(
        "", "`docker` forces the real Redis, Postgres and Kafka, never a fake."
    )
    use_mock_repository: bool = setting(False, "Keep batch state in memory only.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = setting(
        "INFO", "The least level that is logged."
    )
    pipeline_config_path: Path = setting(Path("pipelines.yaml"), "The pipeline file.")

    http_host: str = setting("0.0.0.0", "Address to listen on.")
    http_port: Port = setting(4002, "Port to listen on.")
    http_timeout: float = setting(
        30,
        "How long callers wait; the service answers 5 seconds earlier, in seconds.",
        gt=CALLERS_MARGIN_SECONDS,
    )
    max_staleness_seconds: float = setting(
        30,
        "Age of `known_until` above which all phases run, in seconds; 0 never doubts.",
        ge=0,
        allow_inf_nan=False,
    )
    max_concurrent_requests: Count = setting(256, "Requests in flight before `define` answers 503.")
    max_connections: Count = setting(
        512, "Connections of callers; one that is waited for makes way for a new one."
    )
    service_token: Token | None = setting(
        None, "Bearer token that callers must send; none is asked for when unset."
    )
    shutdown_timeout_seconds: Seconds = setting(
        20, "Longest time from SIGTERM to the end of the process, in seconds."
    )
    max_clock_skew_seconds: float = setting(
        60, "How far clocks of senders, Kafka and BCS may be apart, in seconds.", ge=0, le=86_400
    )

    kafka_bootstrap_servers: Brokers = setting("kafka:9092", "Brokers, comma separated.")
    kafka_consumer_group_id: str = setting("bcs-event-consumer", "Consumer group.")
    kafka_enable_idempotence: bool = setting(
        True, "Whether producers are idempotent; the broker must support it."
    )
    kafka_max_poll_records: Count = setting(4_000, "Most records of one poll.")
    kafka_session_timeout_seconds: Seconds = setting(
        10, "Silence after which the group gives a member's partitions away, in seconds."
    )
    kafka_request_timeout_seconds: Seconds = setting(
        10, "Longest wait for the broker's acknowledgement, in seconds."
    )
    offset_commit_interval_seconds: Seconds = setting(
        0.25, "Time between looks at what Postgres holds, in seconds."
    )
    stuck_consumer_timeout_seconds: Seconds = setting(
        60, "Lag without progress after which the consumer connects again, in seconds."
    )
    dlq_max_invalid_ratio: float = setting(
        0.5, "Share of invalid records that stops consumption; 1 never does.", gt=0, le=1
    )
    dlq_min_invalid_records: Count = setting(
        100, "Invalid records among the latest before the share counts."
    )

    redis_url: SecretStr = setting(
        SecretStr("redis://localhost:6379"), "Redis; may hold a password."
    )
    redis_ttl_seconds: Count = setting(
        604800, "How long the state of an idle batch is kept, in seconds."
    )
    redis_timeout_seconds: Seconds = setting(2, "Longest wait for an answer of Redis, in seconds.")
    redis_max_connections: int = setting(50, "Size of each connection pool.", gt=1)

    postgres_enabled: bool = setting(True, "Whether state is mirrored to Postgres.")
    database_url: SecretStr = setting(
        SecretStr("postgresql+asyncpg://bcs:bcs@localhost:5432/bcs"),
        "Postgres; may hold a password.",
    )
    database_pool_size: Count = setting(5, "Connections kept to Postgres.")
    database_timeout_seconds: Seconds = setting(10, "Longest wait for a statement, in seconds.")

    persistence_batch_size: Count = setting(
        5_000, "Most queue entries that the worker has in hand."
    )
    persistence_batch_bytes: Count = setting(
        4 * MEBIBYTE, "Most bytes of queue entries that the worker has in hand."
    )
    persistence_takeover_seconds: Seconds = setting(
        30, "Idle time after which another worker takes an entry over, in seconds."
    )
    persistence_queue_high_water: Count = setting(
        50_000, "Queue depth that pauses consumption; half of it resumes."
    )
    persistence_queue_high_water_bytes: Count = setting(
        64 * MEBIBYTE, "Bytes queued that pause consumption; half of them resumes."
    )
    retention_days: int = setting(
        400,
        "Days after which Postgres forgets a batch that nothing was said of; 0: never.",
        ge=0,
        le=36_500,
    )

    audit_interval_seconds: Seconds = setting(
        60, "Time between audits of some recently written batches, in seconds."
    )

    @property
    def uses_memory(self) -> bool:
        """Whether batch state is kept in memory instead of Redis; never in docker."""
        asked = self.environment is Environment.TESTING or self.use_mock_repository
        return asked and self.env_type != "docker"


def load_settings(*, refuse_unknown: bool = False) -> Settings:
    """Return the settings of this process.

    Args:
        refuse_unknown: whether a name with our prefix that is no setting is a bad setting, too.

    Raises:
        SettingsError: a setting is bad; its message is one line that names each, without its value.
    """
    return reading.load(Settings, refuse_unknown=refuse_unknown, read_elsewhere=COMPOSITION_NAMES)
