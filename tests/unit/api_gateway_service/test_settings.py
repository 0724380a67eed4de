"""Which settings let the gateway start."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from api_gateway_service.config import Settings, load_settings
from api_gateway_service.services.pipeline_requests import PipelineNames
from api_gateway_service.startup_setup import build_container, check_configuration
from service_libs.exceptions import PipelineConfigurationError, SettingsError
from tests.support.gateway.app import settings_of
from tests.support.gateway.tokens import SECRET, rsa_key


@pytest.mark.parametrize(
    "changes",
    [
        {"auth_mode": "disabled"},
        {"auth_mode": "disabled", "environment": "production"},
        {"jwt_secret": None},
        {"jwt_secret": "short"},
        {"jwt_secret": SECRET, "jwt_jwks_url": "https://id.example/jwks"},
        {"jwt_algorithms": []},
        {"jwt_algorithms": ["none"]},
        {"jwt_algorithms": ["HS256", "RS256"]},
        {"jwt_secret": None, "jwt_jwks_url": "https://id.example/jwks"},  # HS256 is the default
        {"jwt_secret": None, "jwt_jwks_url": "file:///etc/passwd", "jwt_algorithms": ["RS256"]},
        {"cors_origins": ["*"]},
        {"cors_origins": ["https://*.example"]},
        {"cors_origins": ["https://app.example/"]},
        {"cors_origins": ["https://user@app.example"]},
        {"cors_origins": ["null"]},
        {"trusted_proxies": ["10.0.0.0/33"]},
        {"bos_url": "http://user:password@bos"},
        {"bos_url": "http://bos:port"},
        {"bos_url": "http://bos:65536"},
        {"bos_url": "http://bos:0"},
        {"bos_url": "http://[:::]"},
        {"bos_url": "http://bos/\u0101"},
        {"bos_url": "http://bos/a\r\nb"},
        {"kafka_send_timeout_seconds": 1},
        {"kafka_bootstrap_servers": "kafka"},
        {"rate_limit_requests": 0},
    ],
)
def test_what_would_let_anybody_in_or_nobody_stops_the_start(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings_of(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"environment": "production"},
        {"environment": "development", "auth_mode": "disabled", "jwt_secret": None},
        {
            "jwt_secret": None,
            "jwt_jwks_url": "https://id.example/.well-known/jwks.json",
            "jwt_algorithms": ["RS256", "ES256"],
        },
        {"redis_url": "redis://127.0.0.1:1"},
        {"trusted_proxies": ["10.0.0.0/8", "::1"]},
    ],
)
async def test_what_can_be_served_is_built_and_opens_nothing(changes: dict[str, object]) -> None:
    container = build_container(settings_of(**changes))

    await check_configuration(container)

    await container.close()


async def test_a_public_key_in_a_file_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(rsa_key("one").as_pem(private=False))
    container = build_container(
        settings_of(jwt_secret=None, jwt_public_key_file=path, jwt_algorithms=["RS256"])
    )

    await check_configuration(container)

    await container.close()


async def test_a_bad_redis_url_stops_the_start() -> None:
    container = build_container(settings_of(redis_url="http://127.0.0.1"))

    with pytest.raises(SettingsError, match="API_GATEWAY_REDIS_URL"):
        await check_configuration(container)


def test_lists_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_GATEWAY_JWT_SECRET", SECRET)
    monkeypatch.setenv("API_GATEWAY_CORS_ORIGINS", '["https://a.example", "http://b.example:81"]')

    assert load_settings().cors_origins == ("https://a.example", "http://b.example:81")


def test_a_setting_that_nobody_knows_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_GATEWAY_JWT_SECRET", SECRET)
    monkeypatch.setenv("API_GATEWAY_JWT_SECRT", SECRET)

    with pytest.raises(SettingsError, match="the nearest is API_GATEWAY_JWT_SECRET"):
        load_settings(refuse_unknown=True)


def test_what_is_wrong_between_settings_names_them_itself() -> None:
    with pytest.raises(SettingsError, match=r"^API_GATEWAY_[A-Z]"):
        load_settings()


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


async def test_pipelines_and_steps_are_read_from_the_file() -> None:
    container = build_container(settings_of())

    names = await container.get(PipelineNames)

    assert set(names) == {"ai_feedback", "cj_assessment", "comprehensive", "nlp", "spellcheck"}


async def test_what_is_no_pipeline_file_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "pipelines.yaml"
    path.write_text("pipelines: 7")

    with pytest.raises(PipelineConfigurationError):
        await check_configuration(build_container(settings_of(pipeline_config_path=path)))
