"""Settings, from `BCS_...` variables, and from files in a secrets directory for what is secret.

Settings build nothing; nothing else reads the environment.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from service_libs import settings as reading
from service_libs.settings import (
    CALLERS_MARGIN_SECONDS,
    MAX_PORT,
    MEBIBYTE,
    Brokers,
    Environment,
    Seconds,
    Token,
)

# Read by docker-compose.yml, whose `.env` may be this process's environment, too.
COMPOSITION_NAMES = frozenset(
    {
        "BCS_IMAGE_TAG",
        "BCS_KAFKA_HOST",
        "BCS_KAFKA_PORT",
        "BCS_PORT",
        "BCS_POSTGRES_PORT",
        "BCS_REDIS_PORT",
    }
)


class Settings(BaseSettings):
    """All settings; the README has the same table."""

    model_config = SettingsConfigDict(env_prefix="BCS_", frozen=True, extra="forbid")

    environment: Environment = Field(
        default=Environment.DEVELOPMENT, description="Where the service runs."
    )
    env_type: Literal["", "docker"] = Field(
        default="", description="`docker` forces the real Redis, Postgres and Kafka, never a fake."
    )
    use_mock_repository: bool = Field(default=False, description="Keep batch state in memory only.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="The least level that is logged."
    )
    pipeline_config_path: Path = Field(
        default=Path("pipelines.yaml"), description="The pipeline file."
    )

    http_host: str = Field(default="0.0.0.0", description="Address to listen on.")
    http_port: int = Field(default=4002, ge=0, le=MAX_PORT, description="Port to listen on.")
    http_timeout: float = Field(
        default=30,
        gt=CALLERS_MARGIN_SECONDS,
        description="How long callers wait; the service answers 5 seconds earlier, in seconds.",
    )
    max_staleness_seconds: float = Field(
        default=30,
        ge=0,
        allow_inf_nan=False,
        description="Age of `known_until` above which all phases run, in seconds; 0 never doubts.",
    )
    max_concurrent_requests: int = Field(
        default=256, gt=0, description="Requests in flight before `define` answers 503."
    )
    max_connections: int = Field(
        default=512,
        gt=0,
        description="Connections of callers; one that is waited for makes way for a new one.",
    )
    service_token: Token | None = Field(
        default=None,
        description="Bearer token that callers must send; none is asked for when unset.",
    )
    shutdown_timeout_seconds: Seconds = Field(
        default=20, description="Longest time from SIGTERM to the end of the process, in seconds."
    )
    max_clock_skew_seconds: float = Field(
        default=60,
        ge=0,
        le=86_400,
        description="How far clocks of senders, Kafka and BCS may be apart, in seconds.",
    )

    kafka_bootstrap_servers: Brokers = Field(
        default="kafka:9092", description="Brokers, comma separated."
    )
    kafka_consumer_group_id: str = Field(
        default="bcs-event-consumer", description="Consumer group."
    )
    kafka_enable_idempotence: bool = Field(
        default=True, description="Whether producers are idempotent; the broker must support it."
    )
    kafka_max_poll_records: int = Field(default=500, gt=0, description="Most records of one poll.")
    kafka_session_timeout_seconds: Seconds = Field(
        default=10,
        description="Silence after which the group gives a member's partitions away, in seconds.",
    )
    kafka_request_timeout_seconds: Seconds = Field(
        default=10, description="Longest wait for the broker's acknowledgement, in seconds."
    )
    offset_commit_interval_seconds: Seconds = Field(
        default=1, description="Time between looks at what Postgres holds, in seconds."
    )
    stuck_consumer_timeout_seconds: Seconds = Field(
        default=60,
        description="Lag without progress after which the consumer is made anew, in seconds.",
    )
    dlq_max_invalid_ratio: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of invalid records that stops consumption; 1 never does.",
    )
    dlq_min_invalid_records: int = Field(
        default=100, gt=0, description="Invalid records among the latest before the share counts."
    )

    redis_url: SecretStr = Field(
        default=SecretStr("redis://localhost:6379"), description="Redis; may hold a password."
    )
    redis_ttl_seconds: int = Field(
        default=604800, gt=0, description="How long the state of an idle batch is kept, in seconds."
    )
    redis_timeout_seconds: Seconds = Field(
        default=2, description="Longest wait for an answer of Redis, in seconds."
    )
    redis_max_connections: int = Field(
        default=50, gt=1, description="Size of each connection pool."
    )

    postgres_enabled: bool = Field(
        default=True, description="Whether state is mirrored to Postgres."
    )
    database_url: SecretStr = Field(
        default=SecretStr("postgresql+asyncpg://bcs:bcs@localhost:5432/bcs"),
        description="Postgres; may hold a password.",
    )
    database_pool_size: int = Field(default=5, gt=0, description="Connections kept to Postgres.")
    database_timeout_seconds: Seconds = Field(
        default=10, description="Longest wait for a statement, in seconds."
    )

    persistence_batch_size: int = Field(
        default=200, gt=0, description="Most queue entries that the worker has in hand."
    )
    persistence_batch_bytes: int = Field(
        default=4 * MEBIBYTE,
        gt=0,
        description="Most bytes of queue entries that the worker has in hand.",
    )
    persistence_takeover_seconds: Seconds = Field(
        default=30,
        description="Idle time after which another worker takes an entry over, in seconds.",
    )
    persistence_queue_high_water: int = Field(
        default=50_000, gt=0, description="Queue depth that pauses consumption; half of it resumes."
    )
    persistence_queue_high_water_bytes: int = Field(
        default=64 * MEBIBYTE,
        gt=0,
        description="Bytes queued that pause consumption; half of them resumes.",
    )
    retention_days: int = Field(
        default=400,
        ge=0,
        le=36_500,
        description="Days after which Postgres forgets a batch that nothing was said of; 0: never.",
    )

    audit_interval_seconds: Seconds = Field(
        default=60,
        description="Time between audits of some recently written batches, in seconds.",
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
