"""Settings that are refused are refused in one line that names them, and never fail open."""

from pathlib import Path

import pytest

from batch_conductor_service.config import load_settings
from service_libs.exceptions import SettingsError


def refusal() -> str:
    """Return what is said of the settings in the environment."""
    with pytest.raises(SettingsError) as raised:
        load_settings()
    return str(raised.value)


@pytest.mark.parametrize(
    "brokers",
    [
        "",
        ",",
        "kafka",
        "kafka:",
        ":9092",
        "kafka:0",
        "kafka:65536",
        "kafka:-1",
        "kafka:9092,",
        "kafka:9092,,kafka:9093",
        "kafka:9092;kafka:9093",
        "PLAINTEXT://kafka:9092",
        "kafka:9092/topic",
        "::1:9092",
    ],
)
def test_brokers_that_are_none_are_refused(brokers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCS_KAFKA_BOOTSTRAP_SERVERS", brokers)

    text = refusal()

    assert text.startswith("BCS_KAFKA_BOOTSTRAP_SERVERS: not host:port")
    assert "\n" not in text


@pytest.mark.parametrize(
    "brokers", ["kafka:9092", "127.0.0.1:1,kafka-2.local:65535", "a_b:9092, c:9092", "[::1]:9092"]
)
def test_brokers_are_taken(brokers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCS_KAFKA_BOOTSTRAP_SERVERS", brokers)

    assert load_settings().kafka_bootstrap_servers == brokers


@pytest.mark.parametrize("token", ["", "  "])
def test_an_empty_token_is_not_taken_for_none(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCS_SERVICE_TOKEN", token)

    assert refusal().startswith("BCS_SERVICE_TOKEN: empty")


@pytest.mark.parametrize("token", ["s3cret\n", " s3cret", "s3\r\nX-Forged: 1", "s\u00e9cret"])
def test_a_token_that_no_header_can_hold_is_refused(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCS_SERVICE_TOKEN", token)

    text = refusal()

    assert text.startswith("BCS_SERVICE_TOKEN: no header can hold it")
    assert "s3" not in text


def test_an_empty_file_is_not_taken_for_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bcs_service_token").write_text("\n")
    monkeypatch.setenv("BCS_SECRETS_DIR", str(tmp_path))

    assert refusal().startswith("BCS_SERVICE_TOKEN: empty")


def test_the_token_is_read_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bcs_service_token").write_text("s3cret\n")
    monkeypatch.setenv("BCS_SECRETS_DIR", str(tmp_path))

    token = load_settings().service_token

    assert token is not None
    assert token.get_secret_value() == "s3cret"


@pytest.mark.parametrize("name", ["", "nowhere", "file"])
def test_secrets_that_are_not_where_they_should_be_stop_the_start(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BCS_SECRETS_DIR", str(tmp_path / name) if name else "")

    assert refusal() == "BCS_SECRETS_DIR: not a directory"


def test_a_secret_that_cannot_be_read_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bcs_service_token").write_bytes(b"\xff")
    monkeypatch.setenv("BCS_SECRETS_DIR", str(tmp_path))

    assert refusal() == f"BCS_SECRETS_DIR: a file in {tmp_path} cannot be read"
