import pytest
from pydantic import SecretStr

from batch_conductor_service.config import Settings
from batch_conductor_service.implementations.postgres.tables import DATABASE
from service_libs.exceptions import SettingsError


def with_url(url: str) -> Settings:
    return Settings(database_url=SecretStr(url))


@pytest.mark.parametrize("url", ["", "secret", "mysql://bcs:secret@db/bcs", "://secret"])
def test_what_is_no_url_of_postgres_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^BCS_DATABASE_URL: not a URL") as caught:
        DATABASE.engine(with_url(url))

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_making_an_engine_connects_to_nothing() -> None:
    engine = DATABASE.engine(with_url("postgresql://nobody@nowhere.invalid/none"))

    assert engine.pool.status().startswith("Pool size: 5  Connections in pool: 0")


def test_the_password_is_not_shown() -> None:
    assert "hidden" not in repr(DATABASE.engine(with_url("postgresql://bcs:hidden@db/bcs")))
    assert "hidden" not in repr(DATABASE.engine(with_url("postgresql://db/bcs?password=hidden")))
