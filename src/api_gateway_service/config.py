"""Settings, from `API_GATEWAY_...` variables, and from files in a secrets directory.

Settings build nothing; nothing else reads the environment.
"""

import re
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from service_libs import settings as reading
from service_libs.settings import Brokers, Count, Environment, Port, Seconds, Token, setting

# Read by docker-compose.yml, whose `.env` may be this process's environment, too.
COMPOSITION_NAMES = frozenset({"API_GATEWAY_PORT"})

REACT_ORIGINS = (
    "http://localhost:3000",
    "http://localhost:3001",
    "http://localhost:5173",
    "http://localhost:4173",
)
SYMMETRIC = ("HS256", "HS384", "HS512")
ASYMMETRIC = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
)
_ORIGIN = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?", re.ASCII)
_URL = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!\"$->@-~]*)?")
MIN_SECRET_BYTES = 32  # RFC 7518, section 3.2: no shorter than the digest of HS256


class AuthMode(StrEnum):
    """Whether a caller has to say who he is."""

    REQUIRED = "required"
    DISABLED = "disabled"


def _check_origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise PydanticCustomError(
            "origin", "not an origin: scheme://host[:port], and no * beside credentials"
        )
    return value


def _check_url(value: str) -> str:
    try:
        is_url = _URL.fullmatch(value) is not None and urlsplit(value).port != 0
    except ValueError:  # of a port or an address that is none
        is_url = False
    if not is_url:
        raise PydanticCustomError(
            "url", "not http[s]://host[:port][/path] in ASCII, port 1 to 65535"
        )
    return value


def _check_algorithm(value: str) -> str:
    if value not in (*SYMMETRIC, *ASYMMETRIC):
        known = ", ".join((*SYMMETRIC, *ASYMMETRIC))
        raise PydanticCustomError("algorithm", f"none of {known}")
    return value


def _check_network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise PydanticCustomError("network", "not an address or network") from None
    return value


Origin = Annotated[str, AfterValidator(_check_origin)]
Algorithm = Annotated[str, AfterValidator(_check_algorithm)]
Network = Annotated[str, AfterValidator(_check_network)]
HttpUrl = Annotated[str, AfterValidator(_check_url)]


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(env_prefix="API_GATEWAY_", frozen=True, extra="forbid")

    environment: Environment = setting(Environment.DEVELOPMENT, "Where the service runs.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = setting(
        "INFO", "The least level that is logged."
    )
    pipeline_config_path: Path = setting(
        Path("pipelines.yaml"), "The pipeline file, the same as BCS's: which pipelines there are."
    )

    http_host: str = setting("0.0.0.0", "Address to listen on.")
    http_port: Port = setting(4001, "Port to listen on.")
    max_connections: Count = setting(4096, "Connections of callers, open streams included.")
    shutdown_timeout_seconds: Seconds = setting(
        20, "Longest time from SIGTERM to the end of the process, in seconds."
    )
    cors_origins: tuple[Origin, ...] = setting(
        REACT_ORIGINS, "Origins whose pages may call: a JSON list."
    )
    trusted_proxies: tuple[Network, ...] = setting(
        (), "Addresses and networks whose X-Forwarded-For is believed: a JSON list."
    )

    auth_mode: AuthMode = setting(
        AuthMode.REQUIRED, "`required`, or `disabled`: one fixed user, in development only."
    )
    jwt_algorithms: tuple[Algorithm, ...] = setting(
        ("HS256",), "Algorithms by which a token may be signed: a JSON list.", min_length=1
    )
    jwt_jwks_url: str = setting(
        "", "Where the keys are published.", pattern=r"^$|^https?://[^\s/@?#]+(/[^\s?#]*)?$"
    )
    jwt_public_key_file: Path | None = setting(None, "A public key in PEM, where no URL has it.")
    jwt_secret: SecretStr | None = setting(None, "The secret of HS256, HS384 and HS512.")
    jwt_issuer: str = setting("huleedu-identity-service", "Who must have issued a token.")
    jwt_audience: str = setting("huleedu-platform", "Whom a token must be for.")

    bos_url: HttpUrl = setting("http://batch_orchestrator_service:5000", "Where BOS is.")
    bos_service_token: Token | None = setting(None, "Bearer token that BOS asks for.")

    kafka_bootstrap_servers: Brokers = setting("kafka:9092", "Brokers, comma separated.")
    kafka_enable_idempotence: bool = setting(
        True, "Whether the producer is idempotent; the broker must support it."
    )
    kafka_send_timeout_seconds: float = setting(
        5, "Longest wait for the broker's acknowledgement, in seconds.", gt=1
    )

    redis_url: SecretStr = setting(
        SecretStr(""),
        "The gateway's own Redis, for limits and idempotency keys; per process when unset.",
    )
    rate_limit_requests: Count = setting(
        100, "Requests a user and minute, for each route without a limit of its own."
    )
    rate_limit_pipelines_per_minute: Count = setting(20, "Pipelines a user may ask for a minute.")
    rate_limit_pipelines_burst: Count = setting(5, "Pipelines a user may ask for in 10 seconds.")
    rate_limit_status_per_minute: Count = setting(
        120, "Times a user may ask for a status a minute."
    )
    rate_limit_auth_failures_per_minute: Count = setting(
        30, "Failed authentications an address may have a minute; no good token is ever refused."
    )

    @model_validator(mode="after")
    def _check_who_may_call(self) -> Self:
        """Refuse what would let anybody in, or nobody."""
        if self.auth_mode is AuthMode.DISABLED:
            if self.environment is not Environment.DEVELOPMENT:
                raise PydanticCustomError("auth", "API_GATEWAY_AUTH_MODE: only in development")
            return self
        sources = (self.jwt_jwks_url, self.jwt_public_key_file, self.jwt_secret)
        if sum(source not in ("", None) for source in sources) != 1:
            raise PydanticCustomError(
                "keys",
                "API_GATEWAY_JWT_JWKS_URL, API_GATEWAY_JWT_PUBLIC_KEY_FILE, API_GATEWAY_JWT_SECRET:"
                " give exactly one",
            )
        allowed = SYMMETRIC if self.jwt_secret is not None else ASYMMETRIC
        if not set(self.jwt_algorithms) <= set(allowed):
            raise PydanticCustomError(
                "algorithms", "API_GATEWAY_JWT_ALGORITHMS: HS... is for a secret, and no other is"
            )
        if self.jwt_secret and len(self.jwt_secret.get_secret_value()) < MIN_SECRET_BYTES:
            raise PydanticCustomError("secret", "API_GATEWAY_JWT_SECRET: shorter than 32 bytes")
        return self


def load_settings(*, refuse_unknown: bool = False) -> Settings:
    """Return the settings of this process.

    Args:
        refuse_unknown: whether a name with our prefix that is no setting is a bad setting, too.

    Raises:
        SettingsError: a setting is bad; its message is one line that names each, without its value.
    """
    return reading.load(Settings, refuse_unknown=refuse_unknown, read_elsewhere=COMPOSITION_NAMES)
