"""The options in the database's URL: taken, translated, passed over, or refused in one line."""

from functools import partial
from pathlib import Path

import certifi
import pytest

from service_libs.exceptions import SettingsError
from service_libs.postgres import address as addresses
from service_libs.postgres.engine import connect_arguments

read_address = partial(addresses.read_address, setting="BCS_DATABASE_URL")


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg2"]
)
def test_any_spelling_of_postgres_is_taken(scheme: str) -> None:
    address = read_address(f"{scheme}://bcs:p%40ss@db:5433/bcs")

    told = address.url.render_as_string(hide_password=False)
    assert told == "postgresql+asyncpg://bcs:p%40ss@db:5433/bcs"
    assert (address.arguments, address.server_settings, address.passed_over) == ({}, {}, ())


@pytest.mark.parametrize("name", ["sslmode", "ssl"])
def test_tls_is_left_to_the_driver_in_libpqs_words(name: str, tmp_path: Path) -> None:
    certificate = tmp_path / "root & co.crt"
    certificate.write_bytes(Path(certifi.where()).read_bytes())
    encoded = str(certificate).replace(" ", "%20").replace("&", "%26")

    address = read_address(f"postgresql://db/bcs?{name}=verify-full&sslrootcert={encoded}")

    dsn = str(address.arguments["dsn"])
    assert dsn.startswith("postgresql://?sslmode=verify-full&sslrootcert=%2F")
    assert "root+%26+co.crt" in dsn
    assert dict(address.url.query) == {}


def test_libpqs_options_have_their_effect() -> None:
    address = read_address(
        "postgresql://db/bcs?connect_timeout=7&application_name=mine"
        "&options=-c%20search_path%3Dours&channel_binding=prefer&gssencmode=disable"
    )

    arguments = connect_arguments(address, {"application_name": "bcs", "jit": "off"})

    assert arguments["timeout"] == 7
    assert arguments["server_settings"] == {
        "application_name": "mine",
        "jit": "off",
        "options": "-c search_path=ours",
    }
    assert address.url.render_as_string() == "postgresql+asyncpg://db/bcs"


def test_a_time_without_end_is_left_to_us() -> None:
    assert connect_arguments(read_address("postgresql://db?connect_timeout=0"), {})["timeout"] == 5


def test_the_sizes_of_statement_caches_are_numbers() -> None:
    address = read_address(
        "postgresql://db/bcs?statement_cache_size=10&prepared_statement_cache_size=20"
    )

    assert address.arguments == {"statement_cache_size": 10, "prepared_statement_cache_size": 20}


@pytest.mark.parametrize("name", ["statement_cache_size", "prepared_statement_cache_size"])
def test_without_one_cache_there_is_none_and_no_named_statement(name: str) -> None:
    address = read_address(f"postgresql://db/bcs?{name}=0")

    assert address.arguments == {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": str,
    }


def test_who_connects_to_what_may_stand_among_the_options() -> None:
    address = read_address("postgresql:///?user=bcs&password=s3cret&dbname=state&host=db&port=5433")

    assert (address.url.username, address.url.password) == ("bcs", "s3cret")
    assert address.url.database == "state"
    assert dict(address.url.query) == {"host": "db", "port": "5433"}
    assert address.place == "postgresql+asyncpg://bcs:***@/state"


def test_several_servers_may_be_named() -> None:
    address = read_address("postgresql://bcs@/bcs?host=a:5432&host=b:5433")

    assert dict(address.url.query) == {"host": ("a:5432", "b:5433")}


@pytest.mark.parametrize("option", ["target_session_attrs=any", "command_timeout=0", "timeout=60"])
def test_what_the_service_decides_is_passed_over(option: str) -> None:
    address = read_address(f"postgresql://db/bcs?{option}")

    assert address.passed_over == (option.partition("=")[0],)
    assert (dict(address.url.query), address.arguments) == ({}, {})


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://bcs:s3cret@db:many/bcs", "its port is no number from 1 to 65535"),
        ("postgresql://bcs:s3cret@db:65536/bcs", "its port is no number from 1 to 65535"),
        ("postgresql://bcs:s3cret@db:0/bcs", "its port is no number from 1 to 65535"),
        ("postgresql://bcs:s3cret@a:1,b:2/bcs", "its port is no number from 1 to 65535"),
        ("postgresql://bcs:s3cret@/bcs?host=a:many&host=b:1", "its servers are not host=a:1&"),
        ("postgresql://bcs:s3cret@/bcs?host=a:1&host=b", "its servers are not host=a:1&"),
        ("postgresql://bcs:s3cret@db/bcs?port=s3cret", "its servers are not host=a:1&"),
        ("postgresql://bcs:s3cret@db/bcs?port=65536", "its port is no number from 1 to 65535"),
        ("postgresql://bcs:s3cret@db/bcs?foo=bar", "option foo is not known; known are sslmode,"),
        ("postgresql://bcs:s3cret@db/bcs?keepalives=1", "option keepalives is not known"),
        ("postgresql://bcs:s3cret@db/bcs?sslmode=always", "option sslmode is none of disable,"),
        ("postgresql://bcs:s3cret@db/bcs?sslmode=allow&ssl=require", "option sslmode is given"),
        ("postgresql://bcs:s3cret@db/bcs?sslrootcert=/s3cret", "option sslrootcert names no file"),
        ("postgresql://bcs:s3cret@db/bcs?sslrootcert=system", "option sslrootcert names no file"),
        ("postgresql://bcs:s3cret@db/bcs?sslcert=/s3cret", "option sslcert names no file that can"),
        ("postgresql://bcs:s3cret@db/bcs?sslmode=verify-full", "option sslmode needs sslrootcert"),
        ("postgresql://bcs:s3cret@db/bcs?connect_timeout=soon", "option connect_timeout is no who"),
        ("postgresql://bcs:s3cret@db/bcs?connect_timeout=-1", "option connect_timeout is no whole"),
        ("postgresql://bcs:s3cret@db/bcs?channel_binding=require", "option channel_binding is no"),
        ("postgresql://bcs:s3cret@db/bcs?statement_cache_size=none", "option statement_cache_size"),
        ("postgresql://bcs:s3cret@db/bcs?1s3cret=1", "an option is not known"),
    ],
)
def test_what_is_not_known_is_refused_without_the_secret(url: str, told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_address(url)

    assert str(refused.value).startswith(f"BCS_DATABASE_URL: {told}")
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert "\n" not in str(refused.value)
