"""A misspelled setting stops the start; what others put into the environment does not."""

import re
from pathlib import Path

import pytest

from batch_conductor_service.config import COMPOSITION_NAMES, Settings, load_settings
from service_libs.exceptions import SettingsError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("BCS_REDIS_ULR", "BCS_REDIS_URL"),
        ("BCS_SERVICE_TOKN", "BCS_SERVICE_TOKEN"),
        ("BCS_SERVICETOKEN", "BCS_SERVICE_TOKEN"),
        ("BCS_HTP_PORT", "BCS_HTTP_PORT"),
        ("BCS_MAX_CLOCK_SKEW", "BCS_MAX_CLOCK_SKEW_SECONDS"),
        ("BCS_SECRET_DIR", "BCS_SECRETS_DIR"),
        ("bcs_log_levle", "BCS_LOG_LEVEL"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "s3cret")

    with pytest.raises(SettingsError) as refused:
        load_settings(refuse_unknown=True)

    assert str(refused.value) == f"{name}: no such setting; the nearest is {nearest}"


def test_all_that_is_wrong_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCS_REDIS_ULR", "redis://:s3cret@redis")
    monkeypatch.setenv("BCS_SOMETHING", "1")
    monkeypatch.setenv("BCS_HTTP_PORT", "many")

    with pytest.raises(SettingsError) as refused:
        load_settings(refuse_unknown=True)

    told = str(refused.value)
    assert [part.partition(":")[0] for part in told.split("; ") if part.startswith("BCS_")] == [
        "BCS_REDIS_ULR",
        "BCS_SOMETHING",
        "BCS_HTTP_PORT",
    ]
    assert "\n" not in told
    assert "s3cret" not in told


def test_a_misspelled_secret_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bcs_service_tokne").write_text("s3cret")
    (tmp_path / "of_another_service").write_text("s3cret")
    monkeypatch.setenv("BCS_SECRETS_DIR", str(tmp_path))

    with pytest.raises(SettingsError) as refused:
        load_settings(refuse_unknown=True)

    assert str(refused.value) == (
        "bcs_service_tokne: no such setting; the nearest is BCS_SERVICE_TOKEN"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BCS_SERVICE_HOST", "10.0.0.11"),
        ("BCS_SERVICE_PORT", "4002"),
        ("BCS_SERVICE_PORT_HTTP", "4002"),
        ("BCS_PORT", "tcp://10.0.0.11:4002"),
        ("BCS_PORT_4002_TCP", "tcp://10.0.0.11:4002"),
        ("BCS_PORT_4002_TCP_PROTO", "tcp"),
        ("BCS_PORT_4002_TCP_PORT", "4002"),
        ("BCS_PORT_4002_TCP_ADDR", "10.0.0.11"),
        ("BCS_DB_SERVICE_HOST", "10.0.0.12"),
        ("BCS_DB_SERVICE_PORT_POSTGRES", "5432"),
        ("BCS_DB_PORT", "tcp://10.0.0.12:5432"),
        ("BCS_DB_PORT_5432_TCP_ADDR", "10.0.0.12"),
        ("BCS_FAILPOINT", "none"),
        ("BCS_TEST_REDIS_URL", "redis://redis"),
        ("OTHER_SETTING", "1"),
    ],
)
def test_what_others_read_or_inject_is_passed_over(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    assert load_settings(refuse_unknown=True) == Settings()


def test_what_the_composition_reads_is_passed_over() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    read = set(re.findall(r"\$\{(BCS_[A-Z_]+)", text))
    settings = {f"BCS_{name.upper()}" for name in Settings.model_fields}

    assert read - settings == COMPOSITION_NAMES
    assert set(re.findall(r"^    (BCS_[A-Z_]+):", text, re.MULTILINE)) <= settings


def test_only_what_serves_or_migrates_is_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCS_SOMETHING", "1")

    assert load_settings() == Settings()
