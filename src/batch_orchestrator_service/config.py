"""Settings, from `BOS_...` variables, and from files in a secrets directory for what is secret.

Settings build nothing; nothing else reads the environment.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from service_libs import settings as reading
from service_libs.settings import (
    CALLERS_MARGIN_SECONDS,
    Brokers,
    Count,
    Environment,
    Port,
    Seconds,
    Token,
    setting,
)

MIN_RETENTION_DAYS = 30  # longer than Kafka keeps requests, and than the gateway keeps keys (24 h)


def _check_retention(days: int) -> int:
    if days and days < MIN_RETENTION_DAYS:
        raise PydanticCustomError("retention", f"0, or {MIN_RETENTION_DAYS} or more")
    return days


Retention = Annotated[int, Field(ge=0, le=36_500), AfterValidator(_check_retention)]

# Read by docker-compose.yml, whose `.env` may be this process's environment, too.
COMPOSITION_NAMES = frozenset({"BOS_PORT"})


class Settings(BaseSettings):
    """All settings; the README has the same table."""

    model_config = SettingsConfigDict(env_prefix="BOS_", frozen=True, extra="forbid")

    environment: Environment = setting(Environment.DEVELOPMENT, "Where the service runs.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = setting(
        "INFO", "The least level that is logged."
    )
    pipeline_config_path: Path = setting(
        Path("pipelines.yaml"), "The pipeline file, the same as BCS's."
    )

    http_host: str = setting("0.0.0.0", "Address to listen on.")
    http_port: Port = setting(5000, "Port to listen on.")
    http_timeout: float = setting(
        30,
        "How long callers wait; the service answers 5 seconds earlier, in seconds.",
        gt=CALLERS_MARGIN_SECONDS,
    )
    max_connections: Count = setting(512, "Connections of callers.")
    service_token: Token | None = setting(
        None, "Bearer token that callers must send; none is asked for when unset."
    )
    shutdown_timeout_seconds: Seconds = setting(
        20, "Longest time from SIGTERM to the end of the process, in seconds."
    )

    kafka_bootstrap_servers: Brokers = setting("kafka:9092", "Brokers, comma separated.")
    kafka_consumer_group_id: str = setting("batch-orchestrator-consumers", "Consumer group.")
    kafka_enable_idempotence: bool = setting(
        True, "Whether producers are idempotent; the broker must support it."
    )
    kafka_session_timeout_seconds: Seconds = setting(
        10, "Silence after which the group gives a member's partitions away, in seconds."
    )
    kafka_request_timeout_seconds: Seconds = setting(
        10, "Longest wait for the broker's acknowledgement, in seconds."
    )

    database_url: SecretStr = setting(
        SecretStr("postgresql+asyncpg://bcs:bcs@localhost:5432/bcs"),
        "Postgres; may hold a password.",
    )
    database_pool_size: int = setting(10, "Connections kept to Postgres.", gt=2)
    database_timeout_seconds: Seconds = setting(10, "Longest wait for a statement, in seconds.")

    bcs_base_url: str = setting(
        "http://batch_conductor_service:4002", "Where BCS is.", pattern=r"^https?://[^\s/@]+/?$"
    )
    bcs_service_token: Token | None = setting(None, "Bearer token that BCS asks for.")
    bcs_timeout: Seconds = setting(30, "Longest wait for an answer of BCS, in seconds.")

    phase_deadline_seconds: Seconds = setting(
        3600, "After which a phase without outcome is stalled, in seconds."
    )
    phase_deadlines: dict[str, Seconds] = setting(
        {}, "The same for single phases: a JSON object, phase -> seconds."
    )
    max_resolutions: Count = setting(16, "Runs that are resolved at the same time.")
    retention_days: Retention = setting(
        400,
        "Days after which ended runs, their requests and the audit are deleted; 0: never. At least"
        f" {MIN_RETENTION_DAYS}, for a request must be known for as long as Kafka may bring it.",
    )


def load_settings(*, refuse_unknown: bool = False) -> Settings:
    """Return the settings of this process.

    Args:
        refuse_unknown: whether a name with our prefix that is no setting is a bad setting, too.

    Raises:
        SettingsError: a setting is bad; its message is one line that names each, without its value.
    """
    return reading.load(Settings, refuse_unknown=refuse_unknown, read_elsewhere=COMPOSITION_NAMES)
