"""Settings, from `BOS_...` variables, and from files in a secrets directory for what is secret.

Settings build nothing; nothing else reads the environment.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from service_libs import settings as reading
from service_libs.settings import (
    CALLERS_MARGIN_SECONDS,
    MAX_PORT,
    Brokers,
    Environment,
    Seconds,
    Token,
)

# Read by docker-compose.yml, whose `.env` may be this process's environment, too.
COMPOSITION_NAMES = frozenset({"BOS_PORT"})


class Settings(BaseSettings):
    """All settings; the README has the same table."""

    model_config = SettingsConfigDict(env_prefix="BOS_", frozen=True, extra="forbid")

    environment: Environment = Field(
        default=Environment.DEVELOPMENT, description="Where the service runs."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="The least level that is logged."
    )
    pipeline_config_path: Path = Field(
        default=Path("pipelines.yaml"), description="The pipeline file, the same as BCS's."
    )

    http_host: str = Field(default="0.0.0.0", description="Address to listen on.")
    http_port: int = Field(default=5000, ge=0, le=MAX_PORT, description="Port to listen on.")
    http_timeout: float = Field(
        default=30,
        gt=CALLERS_MARGIN_SECONDS,
        description="How long callers wait; the service answers 5 seconds earlier, in seconds.",
    )
    max_connections: int = Field(default=512, gt=0, description="Connections of callers.")
    service_token: Token | None = Field(
        default=None,
        description="Bearer token that callers must send; none is asked for when unset.",
    )
    shutdown_timeout_seconds: Seconds = Field(
        default=20, description="Longest time from SIGTERM to the end of the process, in seconds."
    )

    kafka_bootstrap_servers: Brokers = Field(
        default="kafka:9092", description="Brokers, comma separated."
    )
    kafka_consumer_group_id: str = Field(
        default="batch-orchestrator-consumers", description="Consumer group."
    )
    kafka_enable_idempotence: bool = Field(
        default=True, description="Whether producers are idempotent; the broker must support it."
    )
    kafka_session_timeout_seconds: Seconds = Field(
        default=10,
        description="Silence after which the group gives a member's partitions away, in seconds.",
    )
    kafka_request_timeout_seconds: Seconds = Field(
        default=10, description="Longest wait for the broker's acknowledgement, in seconds."
    )

    database_url: SecretStr = Field(
        default=SecretStr("postgresql+asyncpg://bcs:bcs@localhost:5432/bcs"),
        description="Postgres; may hold a password.",
    )
    database_pool_size: int = Field(default=10, gt=2, description="Connections kept to Postgres.")
    database_timeout_seconds: Seconds = Field(
        default=10, description="Longest wait for a statement, in seconds."
    )

    bcs_base_url: str = Field(
        default="http://batch_conductor_service:4002",
        pattern=r"^https?://[^\s/@]+/?$",
        description="Where BCS is.",
    )
    bcs_service_token: Token | None = Field(
        default=None, description="Bearer token that BCS asks for."
    )
    bcs_timeout: Seconds = Field(
        default=30, description="Longest wait for an answer of BCS, in seconds."
    )

    phase_deadline_seconds: Seconds = Field(
        default=3600, description="After which a phase without outcome is stalled, in seconds."
    )
    phase_deadlines: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={}, description="The same for single phases: a JSON object, phase -> seconds."
    )
    max_resolutions: int = Field(
        default=16, gt=0, description="Runs that are resolved at the same time."
    )


def load_settings(*, refuse_unknown: bool = False) -> Settings:
    """Return the settings of this process.

    Args:
        refuse_unknown: whether a name with our prefix that is no setting is a bad setting, too.

    Raises:
        SettingsError: a setting is bad; its message is one line that names each, without its value.
    """
    return reading.load(Settings, refuse_unknown=refuse_unknown, read_elsewhere=COMPOSITION_NAMES)
